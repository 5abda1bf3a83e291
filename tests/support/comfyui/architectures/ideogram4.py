"""Tiny models of the Ideogram 4 adapter."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from concept_attention.hosts.comfyui.adapters.block_call import ModuleCall
from concept_attention.hosts.comfyui.adapters.ideogram4 import Ideogram4

from .tiny_architecture import Arguments, TinyArchitecture, at_position

_TOKENS, _WORD = 24, 3  # a grid of 6 x 4; where a word lies in a real prompt


def _project(network: Any, embeddings: Tensor, calls: Mapping[str, ModuleCall]) -> Tensor:
    text, _ = network.embed_image_indicator(torch.tensor([0, 1]))
    return network.llm_cond_proj(network.llm_cond_norm(embeddings)) + text


def _length(arguments: Arguments) -> int:
    return arguments["x"].shape[1] - _TOKENS


def _swap(arguments: Arguments, concept: Tensor) -> Arguments:
    length = _length(arguments)
    freqs = at_position(arguments["freqs_cis"], 1, length, concept.shape[1], _WORD)
    return {**arguments, "x": torch.cat([concept, arguments["x"][:, length:]], dim=1), "freqs_cis": freqs}


VARIANTS = (
    TinyArchitecture(
        name="Ideogram 4",
        adapter=Ideogram4(),
        architecture="ideogram4",
        kind="Ideogram4",
        config={
            "image_model": "ideogram4",
            "in_channels": 128,
            "num_layers": 3,
            "num_attention_heads": 2,
            "attention_head_dim": 64,
            "intermediate_size": 128,
            "adaln_dim": 32,
            "llm_features_dim": 48,
            "rope_theta": 5000000,
            "mrope_section": [12, 10, 10],
            "norm_eps": 1e-5,
        },
        latent=(1, 128, 6, 4),
        grid=(1, 6, 4),
        text_width=48,
        project=_project,
        swap=_swap,
        text_in=lambda arguments: arguments["x"][:, : _length(arguments)],
        text_out=lambda output: output,
    ),
)
