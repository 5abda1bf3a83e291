"""Tiny models of the OmniGen 2 adapter."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from concept_attention.hosts.comfyui.adapters.block_call import ModuleCall
from concept_attention.hosts.comfyui.adapters.omnigen2 import OmniGen2

from .tiny_architecture import Arguments, TinyArchitecture, at_position

_TOKENS, _WORD = 24, 23  # a grid of 6 x 4; where a word lies in a real prompt
_SIZES = {
    "image_model": "omnigen2",
    "axes_dim_rope": [8, 12, 12],
    "axes_lens": [1024, 1664, 1664],
    "ffn_dim_multiplier": None,
    "hidden_size": 128,
    "in_channels": 16,
    "multiple_of": 32,
    "norm_eps": 1e-5,
    "num_attention_heads": 4,
    "num_kv_heads": 2,
    "num_layers": 3,
    "num_refiner_layers": 2,
    "out_channels": None,
    "patch_size": 2,
    "text_feat_dim": 48,
    "timestep_scale": 1000.0,
}


def _project(network: Any, embeddings: Tensor, calls: Mapping[str, ModuleCall]) -> Tensor:
    """Every concept through the refiner by itself, where its position makes no difference."""
    refined = []
    for embedding in embeddings.unbind(1):
        concept = network.time_caption_embed.caption_embedder(embedding[:, None])
        for layer in network.context_refiner:
            concept = layer(concept, None, None)
        refined.append(concept)
    return torch.cat(refined, dim=1)


def make_tiny(references: int = 0, **changes: Any) -> TinyArchitecture:
    """A tiny model with that many tokens of reference images, which come before the generated image's."""

    def length(arguments: Arguments) -> int:
        return arguments["hidden_states"].shape[1] - references - _TOKENS

    def swap(arguments: Arguments, concept: Tensor) -> Arguments:
        tokens, before = arguments["hidden_states"], length(arguments)
        position = min(_WORD, before - 1)
        pe = at_position(arguments["image_rotary_emb"], 1, before, concept.shape[1], position)
        return {**arguments, "hidden_states": torch.cat([concept, tokens[:, before:]], dim=1), "image_rotary_emb": pe}

    return TinyArchitecture(
        **{
            "name": "OmniGen 2",
            "adapter": OmniGen2(),
            "architecture": "omnigen2",
            "kind": "Omnigen2",
            "config": _SIZES,
            "latent": (1, 16, 12, 8),
            "grid": (1, 6, 4),
            "text_width": 48,
            "extra": {"attention_mask": lambda tokens, _: torch.ones(1, tokens, dtype=torch.long)},
            "project": _project,
            "swap": swap,
            "text_in": lambda arguments: arguments["hidden_states"][:, : length(arguments)],
            "text_out": lambda output: output,
            "target_last": True,
            **changes,
        }
    )


VARIANTS = (make_tiny(),)
