"""The pack in a running ComfyUI: registered nodes, and what is imported with it."""

from __future__ import annotations

import subprocess
import sys

import pytest

from ..support.nodes.contract import NODES
from ..support.server.client import Client
from ..support.server.process import PROJECT

IMPORTS_OF_THE_PACK = """
import asyncio, pathlib, sys
project, comfyui = map(pathlib.Path, sys.argv[1:])
sys.path[0] = str(project)
import dev_comfyui
dev_comfyui.import_library(comfyui, ["--cpu"])
import utils.extra_config, nodes, server  # in the order of main.py
asyncio.run(nodes.init_extra_nodes(init_custom_nodes=False, init_api_nodes=False))
before = set(sys.modules)
assert asyncio.run(nodes.load_custom_node(str(project), set()))
print(*sorted({name.partition(".")[0] for name in set(sys.modules) - before if not name.startswith(str(project))}))
"""


@pytest.fixture(scope="module")
def infos(comfyui: Client) -> dict[str, dict]:
    return comfyui.object_info()


def sockets(info: dict) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """A node's inputs and outputs in the server's order, written as the contract writes them."""
    inputs = tuple(
        f"{name}:{entry[0] if isinstance(entry[0], str) else 'COMBO'}{mark}"
        for part, mark in (("required", ""), ("optional", "?"))
        for name, entry in info["input"].get(part, {}).items()
    )
    outputs = tuple(f"{name}:{kind}" for name, kind in zip(info["output_name"], info["output"], strict=True))
    return inputs, outputs


@pytest.mark.parametrize("name", NODES)
def test_every_node_has_the_sockets_of_the_contract_in_order(infos: dict[str, dict], name: str) -> None:
    assert sockets(infos[name]) == (NODES[name].server_inputs, NODES[name].outputs)


@pytest.mark.parametrize("name", NODES)
def test_every_node_explains_itself(infos: dict[str, dict], name: str) -> None:
    info = infos[name]
    assert info["category"].startswith("ConceptAttention")
    assert info["display_name"] != name and len(info["description"]) > 20
    assert info["search_aliases"] and info["python_module"] == "custom_nodes.ComfyUI-ConceptAttention"
    given = {**info["input"].get("required", {}), **info["input"].get("optional", {})}
    for kind, *options in given.values():
        assert options and options[0].get("tooltip"), given
        if kind in ("INT", "FLOAT"):
            assert {"min", "max", "default"} <= set(options[0])
    assert all(info["output_tooltips"])


def test_the_pack_has_the_nodes_of_the_contract(infos: dict[str, dict]) -> None:
    """The log would not mention a node that is missing from the pack's list."""
    ours = {name for name, info in infos.items() if info["category"].startswith("ConceptAttention")}
    assert ours == set(NODES)


def test_inputs_that_name_a_sampler_offer_those_of_core(infos: dict[str, dict]) -> None:
    def required(name: str) -> dict:
        return infos[name]["input"]["required"]

    for name in ("sampler_name", "scheduler"):
        stock, ours = required("KSampler")[name], required("ConceptAttentionKSampler")[name]
        choices = [entry[1]["options"] if entry[0] == "COMBO" else entry[0] for entry in (stock, ours)]
        assert choices[0] == choices[1]


def test_importing_the_pack_imports_nothing_that_is_slow(comfyui: Client) -> None:
    """Diffusers, matplotlib and SciPy wait until they are needed."""
    command = [sys.executable, "-c", IMPORTS_OF_THE_PACK, str(PROJECT), str(comfyui.server.comfyui)]
    run = subprocess.run(command, capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stderr
    assert set(run.stdout.splitlines()[-1].split()) <= {"safetensors"}
