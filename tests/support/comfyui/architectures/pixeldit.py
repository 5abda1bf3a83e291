"""Tiny models of the PixelDiT adapter."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from concept_attention.hosts.comfyui.adapters.block_call import ModuleCall
from concept_attention.hosts.comfyui.adapters.pixeldit import PixelDiT

from .tiny_architecture import Arguments, TinyArchitecture

_SIZES = {
    "num_groups": 2,
    "hidden_size": 64,
    "pixel_hidden_size": 4,
    "pixel_attn_hidden_size": 16,
    "pixel_num_groups": 2,
    "patch_depth": 3,
    "pixel_depth": 1,
    "txt_embed_dim": 48,
}
_LOW_QUALITY = {"lq_latent_channels": 16, "lq_hidden_dim": 8, "lq_num_res_blocks": 1}


def _project(network: Any, embeddings: Tensor, calls: Mapping[str, ModuleCall]) -> Tensor:
    return network.y_embedder(embeddings) + network.y_pos_embedding[:, 1:2]


def _swap(arguments: Arguments, concept: Tensor) -> Arguments:
    return {**arguments, "y": concept, "pos_txt": arguments["pos_txt"][[1] * concept.shape[1]]}


def _variant(name: str, kind: str, config: Any, extra: Any) -> TinyArchitecture:
    return TinyArchitecture(
        name=name,
        adapter=PixelDiT(),
        architecture="pixeldit",
        kind=kind,
        config={**_SIZES, **config},
        latent=(1, 3, 96, 64),
        grid=(1, 6, 4),
        text_width=48,
        extra=extra,
        project=_project,
        swap=_swap,
        text_in=lambda arguments: arguments["y"],
        text_out=lambda output: output[1],
    )


TEXT = _variant("PixelDiT", "PixelDiTT2I", {"image_model": "pixeldit_t2i"}, {})
DECODER = _variant(
    "PiD",
    "PiD",
    {"image_model": "pid", **_LOW_QUALITY},
    {
        "lq_latent": lambda _, generator: torch.randn(1, 16, 3, 2, generator=generator),
        "degrade_sigma": lambda _, generator: torch.full((1,), 0.1),
    },
)
VARIANTS = (TEXT, DECODER)
