"""A tiny model of the Ernie-Image adapter."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from concept_attention.hosts.comfyui.adapters.block_call import ModuleCall
from concept_attention.hosts.comfyui.adapters.ernie_image import ErnieImage

from .tiny_architecture import Arguments, TinyArchitecture

_TOKENS = 24  # a grid of 6 x 4
_POSITION = 1  # behind the start token


def _project(network: Any, embeddings: Tensor, calls: Mapping[str, ModuleCall]) -> Tensor:
    return network.text_proj(embeddings)


def _swap(arguments: Arguments, concept: Tensor) -> Arguments:
    rotations = arguments["rotary_pos_emb"]
    own = rotations[:, _TOKENS + _POSITION : _TOKENS + _POSITION + 1]
    return {
        **arguments,
        "x": torch.cat([arguments["x"][:, :_TOKENS], concept], dim=1),
        "rotary_pos_emb": torch.cat([rotations[:, :_TOKENS], *[own] * concept.shape[1]], dim=1),
    }


VARIANTS = (
    TinyArchitecture(
        name="Ernie-Image",
        adapter=ErnieImage(),
        architecture="ernie_image",
        kind="ErnieImage",
        config={
            "image_model": "ernie",
            "hidden_size": 64,
            "num_attention_heads": 2,
            "num_layers": 3,
            "ffn_hidden_size": 96,
            "in_channels": 128,
            "out_channels": 128,
            "text_in_dim": 48,
            "rope_axes_dim": (8, 12, 12),
        },
        latent=(1, 128, 6, 4),
        grid=(1, 6, 4),
        text_width=48,
        project=_project,
        swap=_swap,
        text_in=lambda arguments: arguments["x"][:, _TOKENS:],
        text_out=lambda output: output[:, _TOKENS:],
        image_first=True,
    ),
)
