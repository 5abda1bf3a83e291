"""Rows of the Flux 1 adapter."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor

from concept_attention.hosts.comfyui.adapters import flux
from concept_attention.hosts.comfyui.adapters.block_call import ModuleCall

from .double_stream import double_stream_row
from .row import Row

_SIZES = {
    "image_model": "flux",
    "in_channels": 16,
    "out_channels": 16,
    "patch_size": 2,
    "vec_in_dim": 32,
    "theta": 10000,
    "guidance_embed": False,
    "txt_ids_dims": [],
}
_UNPOOLED = {**_SIZES, "vec_in_dim": None, "txt_ids_dims": [1, 2]}


@contextmanager
def _without_pooled_text(block: Any, network: Any, calls: Mapping[str, ModuleCall]) -> Iterator[None]:
    """The text stream's modulation from a zero pooled vector, which is what concepts have."""
    pooled = calls["vector_in"]
    without = network.vector_in(torch.zeros_like(pooled.arguments[0])) - pooled.output
    handle = block.txt_mod.register_forward_pre_hook(lambda _, args: (args[0] + without,))
    try:
        yield
    finally:
        handle.remove()


def _same_vector(network: Any, calls: Mapping[str, ModuleCall], rows: Any) -> Tensor:
    return sum(call.output for call in calls.values())[rows]


def _normalised_first(network: Any, embeddings: Tensor, calls: Mapping[str, ModuleCall]) -> Tensor:
    return network.txt_in(network.txt_norm(embeddings))


def _pooled_row(name: str, kind: str, guidance: bool) -> Row:
    return double_stream_row(
        name,
        flux,
        "flux",
        kind,
        {**_SIZES, "guidance_embed": guidance},
        extra={"pooled_output": lambda _, generator: torch.randn(1, 32, generator=generator)},
        around=_without_pooled_text,
        calm={"concept_modulation": _same_vector},
    )


ROWS = (
    _pooled_row("Flux.1 dev, Krea, Kontext, Fill, Canny, Depth", "Flux", guidance=True),
    _pooled_row("Flux.1 schnell", "FluxSchnell", guidance=False),
    double_stream_row("LongCat-Image", flux, "flux", "LongCatImage", _UNPOOLED),
    double_stream_row(
        "Ovis-Image",
        flux,
        "flux",
        "FluxSchnell",
        {**_UNPOOLED, "yak_mlp": True, "txt_norm": True},
        first=_normalised_first,
        position=1,
    ),
)
