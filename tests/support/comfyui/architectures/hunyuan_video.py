"""Tiny models of the HunyuanVideo adapter."""

from __future__ import annotations

import types
from collections.abc import Mapping
from typing import Any

import torch
from torch import Generator, Tensor

from concept_attention.hosts.comfyui.adapters.block_call import ModuleCall
from concept_attention.hosts.comfyui.adapters.hunyuan_video import HunyuanVideo

from .double_stream import tiny_double_stream
from .tiny_architecture import TinyArchitecture

_SIZES = {
    "image_model": "hunyuan_video",
    "in_channels": 16,
    "out_channels": 16,
    "patch_size": [1, 2, 2],
    "vec_in_dim": 32,
    "theta": 256,
    "guidance_embed": False,
    "byt5": False,
    "meanflow": False,
    "meanflow_sum": False,
    "use_cond_type_embedding": False,
    "vision_in_dim": None,
}
_VISION = 40


def _each_alone(network: Any, embeddings: Tensor, calls: Mapping[str, ModuleCall]) -> Tensor:
    """Every concept as a prompt of one token."""
    _, timesteps, _ = calls["txt_in"].arguments
    refined = [network.txt_in(concept[:, None], timesteps, None) for concept in embeddings.unbind(1)]
    return torch.cat(refined, dim=1)


def _each_alone_as_text(network: Any, embeddings: Tensor, calls: Mapping[str, ModuleCall]) -> Tensor:
    return _each_alone(network, embeddings, calls) + network.cond_type_embedding.weight[0]


def _pooled(tokens: int, generator: Generator) -> Tensor:
    return torch.randn(1, 32, generator=generator)


def _glyphs(tokens: int, generator: Generator) -> Tensor:
    return torch.randn(1, 4, 1472, generator=generator)


def _vision(tokens: int, generator: Generator) -> Any:
    return types.SimpleNamespace(last_hidden_state=torch.randn(1, 6, _VISION, generator=generator))


def _variant(name: str, kind: str, config: Mapping[str, Any], **others: Any) -> TinyArchitecture:
    fields = {"project": _each_alone, "latent": (1, 16, 3, 8, 6), "grid": (3, 4, 3), **others}
    return tiny_double_stream(name, HunyuanVideo(), "hunyuan_video", kind, {**_SIZES, **config}, **fields)


VARIANTS = (
    _variant(
        "HunyuanVideo",
        "HunyuanVideo",
        {"guidance_embed": True},
        extra={"pooled_output": _pooled},
    ),
    _variant(
        "HunyuanVideo I2V",
        "HunyuanVideoI2V",
        {"in_channels": 33},
        extra={"pooled_output": _pooled, "guiding_frame_index": lambda *_: 0},
    ),
    _variant(
        "HunyuanVideo 1.5",
        "HunyuanVideo15",
        {
            "in_channels": 65,
            "out_channels": 32,
            "patch_size": [1, 1, 1],
            "depth_single_blocks": 0,
            "vec_in_dim": None,
            "byt5": True,
            "use_cond_type_embedding": True,
            "vision_in_dim": _VISION,
            "meanflow_sum": True,
        },
        latent=(1, 32, 3, 4, 3),
        extra={"pooled_output": lambda *_: None, "conditioning_byt5small": _glyphs, "clip_vision_output": _vision},
        project=_each_alone_as_text,
    ),
    _variant(
        "HunyuanImage 2.1",
        "HunyuanImage21",
        {
            "in_channels": 64,
            "out_channels": 64,
            "patch_size": [1, 1],
            "axes_dim": [32, 32],
            "vec_in_dim": None,
            "byt5": True,
            "meanflow": True,
        },
        latent=(1, 64, 6, 4),
        grid=(1, 6, 4),
        extra={"conditioning_byt5small": _glyphs},
    ),
    _variant(
        "HunyuanImage 2.1 refiner",
        "HunyuanImage21Refiner",
        {"in_channels": 128, "out_channels": 64, "patch_size": [1, 1, 1], "vec_in_dim": None},
        latent=(1, 64, 1, 6, 4),
        grid=(1, 6, 4),
    ),
)
