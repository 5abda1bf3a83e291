"""Node schemas: sockets of record, texts, ranges and defaults."""

from __future__ import annotations

import ast
import importlib
import inspect
from pathlib import Path
from typing import Any

import pytest

from ..support.nodes import locales
from ..support.nodes.contract import NODES
from .conftest import Pack

ROOT = Path(__file__).resolve().parents[2]
SOCKETS = {"CA_CONCEPTS", "CA_RECORDING", "CA_HEATMAPS"}
CORE_SOCKETS = set("IMAGE MASK LATENT MODEL CLIP VAE CONDITIONING NOISE GUIDER SAMPLER SIGMAS BOUNDING_BOX".split())  # noqa: SIM905
OF_PACKS = {"SEGS"}  # of the Impact Pack
WIDGETS = {"INT", "FLOAT", "STRING", "BOOLEAN", "COMBO"}
# Taken by other packs.
FOREIGN = {"ConceptAttentionNode", "ConceptSaliencyMapNode", "ConceptAttentionVisualizerNode"}

every_node = pytest.mark.parametrize("node_id", NODES)


def schema_of(pack: Pack, node_id: str) -> Any:
    return pack.nodes[node_id].GET_SCHEMA()


def test_the_nodes_are_those_of_the_contract(pack: Pack) -> None:
    assert set(pack.nodes) == set(NODES) and not set(NODES) & FOREIGN
    assert all(node.GET_SCHEMA().node_id == node_id for node_id, node in pack.nodes.items())


@every_node
def test_inputs_and_outputs_are_those_of_the_contract_in_order(pack: Pack, node_id: str) -> None:
    schema = schema_of(pack, node_id)
    inputs = tuple(f"{item.id}:{item.io_type}{'?' if item.optional else ''}" for item in schema.inputs)
    outputs = tuple(f"{item.display_name}:{item.io_type}" for item in schema.outputs)
    assert (inputs, outputs) == NODES[node_id]


@every_node
def test_a_node_explains_itself(pack: Pack, node_id: str) -> None:
    schema = schema_of(pack, node_id)
    assert schema.category.startswith("ConceptAttention/")
    assert schema.display_name and schema.display_name != node_id
    assert schema.description.endswith(".") and len(schema.description) > 40
    assert "concept attention" in schema.search_aliases
    for item in (*schema.inputs, *schema.outputs):
        assert item.tooltip and item.tooltip.endswith(".") and item.tooltip == item.tooltip.strip(), item.id
    assert all(output.display_name for output in schema.outputs)
    assert schema.essentials_category is None


@every_node
def test_sockets_are_the_contracts_or_cores(pack: Pack, node_id: str) -> None:
    schema = schema_of(pack, node_id)
    assert {item.io_type for item in schema.outputs} <= SOCKETS | CORE_SOCKETS | OF_PACKS | WIDGETS
    assert {item.io_type for item in schema.inputs} <= SOCKETS | CORE_SOCKETS | WIDGETS


@every_node
def test_numbers_have_ranges_and_choices_their_default(pack: Pack, node_id: str) -> None:
    for item in schema_of(pack, node_id).inputs:
        if item.io_type in ("INT", "FLOAT"):
            assert None not in (item.default, item.min, item.max, item.step), item.id
            assert item.min <= item.default <= item.max and item.step > 0, item.id
        if item.io_type == "COMBO":
            assert item.default in (None, *item.options), item.id


@every_node
def test_inputs_are_arguments_with_the_same_defaults(pack: Pack, node_id: str) -> None:
    """A graph sent over HTTP may leave optional inputs out; ComfyUI then passes nothing."""
    inputs = {item.id: item for item in schema_of(pack, node_id).inputs}
    parameters = inspect.signature(pack.nodes[node_id].execute).parameters
    assert set(parameters) == set(inputs)
    for name, parameter in parameters.items():
        item = inputs[name]
        assert (parameter.default is not parameter.empty) == bool(item.optional), name
        if item.optional:
            assert parameter.default == getattr(item, "default", None), name
        assert parameter.annotation is not parameter.empty


@every_node
def test_rarely_used_inputs_are_optional(pack: Pack, node_id: str) -> None:
    assert all(item.optional for item in schema_of(pack, node_id).inputs if item.advanced)


@every_node
def test_what_a_node_says_is_sent_again_when_it_is_cached(pack: Pack, node_id: str) -> None:
    """ComfyUI keeps and sends again the UI output of output nodes and of those with intermediate output only."""
    source = inspect.getsource(inspect.unwrap(pack.nodes[node_id].execute))
    schema = schema_of(pack, node_id)
    assert ("ui=" in source) == bool(schema.has_intermediate_output or schema.is_output_node)


def core_inputs(node: Any) -> list[tuple[str, Any, dict[str, Any]]]:
    """(name, type or choices, options but for texts) of a core node's required inputs, in order."""
    listed = []
    for name, (kind, *rest) in node.INPUT_TYPES()["required"].items():
        options = {key: value for key, value in (rest[0] if rest else {}).items() if key != "tooltip"}
        listed.append((name, options.pop("options", None) or kind, options))
    return listed


@pytest.mark.parametrize(
    ("module", "name", "node_id"),
    [
        ("nodes", "KSampler", "ConceptAttentionKSampler"),
        ("comfy_extras.nodes_custom_sampler", "SamplerCustomAdvanced", "ConceptAttentionSamplerCustom"),
    ],
)
def test_a_sampler_has_cores_widgets_first_and_ours_after_them(
    pack: Pack, module: str, name: str, node_id: str
) -> None:
    core = core_inputs(getattr(importlib.import_module(module), name))
    ours = core_inputs(pack.nodes[node_id])[: len(core)]
    for (core_name, core_kind, core_options), (our_name, our_kind, our_options) in zip(core, ours, strict=True):
        assert (our_name, our_kind) == (core_name, core_kind)
        our_options.pop("multiselect", None)
        if "step" not in core_options and our_options.get("step") == 1:
            del our_options["step"]  # what a whole number has anyway
        assert our_options == core_options, our_name


def node_files() -> list[Path]:
    return sorted((ROOT / "nodes").glob("*.py"))


def test_execute_is_short() -> None:
    lengths = {}
    for file in node_files():
        for part in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if isinstance(part, ast.FunctionDef) and part.name == "execute":
                last = part.body[-1].end_lineno
                assert last is not None
                lengths[f"{file.name}:{part.lineno}"] = last - part.body[0].lineno + 1
    assert len(lengths) == len(NODES) and max(lengths.values()) < 15, lengths


def test_nodes_import_nothing_dangerous() -> None:
    """No second copy of the library, no pickles, processes or network: only these packages, and one route's own."""
    allowed = {"__future__", "collections", "contextlib", "dataclasses", "functools", "json", "os", "pathlib", "sys"}
    allowed |= {"typing", "torch", "einops", "comfy", "comfy_api", "comfy_execution", "folder_paths"}
    of_the_route = {"asyncio", "io", "tempfile", "aiohttp", "PIL"}
    for file in node_files():
        known = allowed | (of_the_route if file.name == "animations.py" else set())
        for part in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if isinstance(part, ast.Import):
                roots = {alias.name.split(".")[0] for alias in part.names}
            elif isinstance(part, ast.ImportFrom) and part.level == 0:
                roots = {str(part.module).split(".")[0]}
            elif isinstance(part, ast.ImportFrom) and part.level > 1:
                assert str(part.module).startswith("concept_attention."), file.name
                continue
            else:
                continue
            assert roots <= known, file.name


def test_the_locale_files_know_the_same_nodes() -> None:
    assert set(locales.read("en", locales.NODES)) == set(NODES)
