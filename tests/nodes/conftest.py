"""The pack as ComfyUI loads it: by its path, under a name that nothing else has, by ComfyUI's own function."""

from __future__ import annotations

import asyncio
import importlib
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch

from ..hosts.comfyui.boot import PROJECT, Host
from ..hosts.comfyui.conftest import comfy_host, pytest_pycollect_makemodule, tiny_clip, tiny_flux  # noqa: F401


class Pack:
    """The loaded pack.

    Attributes:
        name: of its module.
        nodes: its node classes by id.
    """

    def __init__(self, folder: Path) -> None:
        host_nodes = importlib.import_module("nodes")
        before = set(host_nodes.NODE_CLASS_MAPPINGS)
        assert asyncio.run(host_nodes.load_custom_node(str(folder), before)), "ComfyUI could not load the pack"
        self.name = str(folder).replace(".", "_x_")
        ours = set(host_nodes.NODE_CLASS_MAPPINGS) - before
        self.nodes: dict[str, Any] = {node_id: host_nodes.NODE_CLASS_MAPPINGS[node_id] for node_id in ours}

    def module(self, name: str) -> ModuleType:
        """A module of the pack, such as `concept_attention.recording`; not the one that tests import by that name."""
        return importlib.import_module(f"{self.name}.{name}")

    def run(self, node_id: str, **inputs: Any) -> Any:
        """Execute a node as ComfyUI's executor does; its NodeOutput."""
        node = self.nodes[node_id].PREPARE_CLASS_CLONE(None)
        with torch.inference_mode():
            return node.EXECUTE_NORMALIZED(**inputs)

    def text(self, output: Any) -> str:
        """What a node says below itself."""
        said = output.ui if isinstance(output.ui, dict) else output.ui.as_dict()
        (text,) = said["text"]
        return str(text)


@pytest.fixture(scope="session")
def pack(comfy_host: Host) -> Pack:  # noqa: F811
    return Pack(PROJECT)


@pytest.fixture
def folders(comfy_host: Host, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:  # noqa: F811
    """Empty input and output folders of ComfyUI; their parent."""
    import folder_paths

    for name in ("input", "output"):
        (tmp_path / name).mkdir()
        monkeypatch.setattr(folder_paths, f"{name}_directory", str(tmp_path / name))
    return tmp_path
