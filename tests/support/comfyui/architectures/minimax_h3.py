"""Tiny models of the MiniMax-H3 adapter."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from concept_attention.hosts.comfyui.adapters.block_call import ModuleCall
from concept_attention.hosts.comfyui.adapters.minimax_h3 import MiniMaxH3

from .tiny_architecture import Arguments, TinyArchitecture, at_position

_TOKENS, _SOUND = 3 * 24, 2 * 5  # grids of 6 x 4 and of two channels
_SIZES = {
    "image_model": "minimax_h3",
    "hidden_size": 64,
    "num_layers": 3,
    "token_refiner_num_layers": 2,
    "num_attention_heads": 2,
    "attention_head_dim": 32,
    "ffn_hidden_size": 96,
    "text_dim": 48,
    "timestep_input_dim": 32,
    "time_embed_hidden_size": 64,
    "time_embed_dim": 32,
    "rope_inv_freq_len": 4,
}


def _project(network: Any, embeddings: Tensor, calls: Mapping[str, ModuleCall]) -> Tensor:
    """Every concept through the refiner by itself."""
    states = network.condition_proj(embeddings[0])
    return torch.cat([network.token_refiner(one) for one in states.split(1)])[None]


def make_tiny(name: str = "MiniMax-H3", others: int = 0) -> TinyArchitecture:
    """A tiny model; `others` is the number of tokens of keyframes or references."""

    def length(arguments: Arguments) -> int:
        return len(arguments["x"]) - _TOKENS - _SOUND - others

    def swap(arguments: Arguments, concept: Tensor) -> Arguments:
        before, count = length(arguments), concept.shape[1]
        segments = arguments["mod_segments"]
        row = next(int(row) for _, stop, row in segments if stop <= before and int(row) % 3 == 1)  # of words
        by = count - before
        moved = [(start + by, stop + by, other) for start, stop, other in segments if start >= before]
        return {
            **arguments,
            "x": torch.cat([concept[0], arguments["x"][before:]]),
            "rope_freqs": at_position(arguments["rope_freqs"], 1, before, count),
            "mod_segments": [(0, count, row), *moved],
        }

    return TinyArchitecture(
        name=name,
        adapter=MiniMaxH3(),
        architecture="minimax_h3",
        kind="MiniMaxH3",
        config=_SIZES,
        latent=(1, 24, 3, 12, 8),
        grid=(3, 6, 4),
        text_width=48,
        project=_project,
        swap=swap,
        text_in=lambda arguments: arguments["x"][None, : length(arguments)],
        text_out=lambda output: output[None],
        target_last=True,
        sound=(1, 32, 2, 5),
    )


VIDEO = make_tiny()
VARIANTS = (VIDEO,)
