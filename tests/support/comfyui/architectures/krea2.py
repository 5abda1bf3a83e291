"""Tiny models of the Krea 2 adapter."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from concept_attention.hosts.comfyui.adapters.block_call import ModuleCall
from concept_attention.hosts.comfyui.adapters.krea2 import Krea2

from .tiny_architecture import Arguments, TinyArchitecture, at_position

_TOKENS = 24  # a grid of 6 x 4
_LAYERS, _WIDTH = 3, 40  # of the text encoder's
_SIZES = {
    "image_model": "krea2",
    "features": 128,
    "channels": 16,
    "patch": 2,
    "layers": 3,
    "heads": 4,
    "kvheads": 2,
    "txtlayers": _LAYERS,
    "txtdim": _WIDTH,
    "txtheads": 2,
    "txtkvheads": 2,
}


def _project(network: Any, embeddings: Tensor, calls: Mapping[str, ModuleCall]) -> Tensor:
    """Every concept fused by itself."""
    each = [embedding.unflatten(-1, (_LAYERS, _WIDTH))[:, None] for embedding in embeddings.unbind(1)]
    return torch.cat([network.txtmlp(network.txtfusion(one)) for one in each], dim=1)


def make_tiny(references: int = 0, **changes: Any) -> TinyArchitecture:
    """A tiny model with that many tokens of reference images, which come after the generated image's."""

    def length(arguments: Arguments) -> int:
        return arguments["x"].shape[1] - references - _TOKENS

    def swap(arguments: Arguments, concept: Tensor) -> Arguments:
        x, before, count = arguments["x"], length(arguments), concept.shape[1]
        swapped = {
            **arguments,
            "x": torch.cat([concept, x[:, before:]], dim=1),
            "freqs": at_position(arguments["freqs"], 2, before, count),
        }
        if arguments.get("timestep_zero_index"):
            swapped["timestep_zero_index"] += count - before
        return swapped

    return TinyArchitecture(
        **{
            "name": "Krea 2",
            "adapter": Krea2(),
            "architecture": "krea2",
            "kind": "Krea2",
            "config": _SIZES,
            "latent": (1, 16, 1, 12, 8),
            "grid": (1, 6, 4),
            "text_width": _LAYERS * _WIDTH,
            "project": _project,
            "swap": swap,
            "text_in": lambda arguments: arguments["x"][:, : length(arguments)],
            "text_out": lambda output: output,
            **changes,
        }
    )


VARIANTS = (make_tiny(),)
