"""The pack, loaded by its path with ComfyUI's own function under a unique module name."""

from __future__ import annotations

import asyncio
import importlib
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch

from ..hosts.comfyui.conftest import comfy_host, pytest_pycollect_makemodule, tiny_clip, tiny_flux  # noqa: F401
from ..support.comfyui.boot import PROJECT, Host


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
        """A module of the pack, such as `concept_attention.scores`; not the one that tests import by that name."""
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


@pytest.fixture(scope="session")
def landscape(pack: Pack) -> tuple[Any, Any, Any]:
    """MODEL, CLIP and VAE of the landscape model. Do not change them: tests share them."""
    model, clip, vae = pack.run("ConceptAttentionTinyModel").args
    return model, clip, vae


@pytest.fixture(scope="session")
def concepts(pack: Pack, landscape: tuple[Any, Any, Any]) -> Any:
    """house, sun; background sky, grass."""
    return pack.run("ConceptEncode", clip=landscape[1], concepts="house, sun", background="sky\ngrass")[0]


@pytest.fixture(scope="session")
def sampled(pack: Pack, landscape: tuple[Any, Any, Any], concepts: Any) -> Any:
    """NodeOutput of ConceptAttentionKSampler: two pictures of 96 x 64 pixels, 4 steps."""
    return pack.run("ConceptAttentionKSampler", **sampler_inputs(landscape, 2), concepts=concepts)


def sampler_inputs(landscape: tuple[Any, Any, Any], batch: int = 1, **changes: Any) -> dict[str, Any]:
    """Inputs of KSampler for pictures of 96 x 64 pixels (width x height)."""
    model, clip, _ = landscape
    prompt = clip.encode_from_tokens_scheduled(clip.tokenize("a house on grass under a sun in the sky"))
    inputs = {
        "model": model,
        "seed": 5,
        "steps": 4,
        "cfg": 1.0,
        "sampler_name": "euler",
        "scheduler": "simple",
        "positive": prompt,
        "negative": prompt,
        "latent_image": {"samples": torch.zeros(batch, 16, 8, 12)},
        "denoise": 1.0,
    }
    return {**inputs, **changes}


@pytest.fixture(scope="session")
def recording(sampled: Any) -> Any:
    """Two pictures of 4 x 6 tokens, 4 steps, all 4 layers."""
    return sampled[1]


@pytest.fixture(scope="session")
def pictures(landscape: tuple[Any, Any, Any], sampled: Any) -> torch.Tensor:
    """What was sampled, (2, 64, 96, 3)."""
    with torch.inference_mode():
        decoded: torch.Tensor = landscape[2].decode(sampled[0]["samples"])
    return decoded


@pytest.fixture(scope="session")
def heatmaps(pack: Pack, recording: Any) -> Any:
    """Of all layers and steps, kind share."""
    return pack.run("ConceptHeatmaps", recording=recording, layers="all")[0]
