"""Rows of the Flux 1 adapter."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor

from concept_attention.hosts.comfyui import flux
from concept_attention.hosts.comfyui.visits import Call

from .row import Arguments, Row, at_position

_SIZES = {
    "image_model": "flux",
    "in_channels": 16,
    "out_channels": 16,
    "patch_size": 2,
    "vec_in_dim": 32,
    "context_in_dim": 48,
    "hidden_size": 128,
    "mlp_ratio": 4.0,
    "num_heads": 1,
    "depth": 3,
    "depth_single_blocks": 1,
    "axes_dim": [16, 56, 56],
    "theta": 10000,
    "qkv_bias": True,
    "txt_ids_dims": [],
}


def _first(network: Any, embeddings: Tensor, calls: Mapping[str, Call]) -> Tensor:
    return network.txt_in(embeddings)


def _swap(arguments: Arguments, concept: Tensor) -> Arguments:
    pe = at_position(arguments["pe"], 2, arguments["txt"].shape[1], concept.shape[1])
    return {**arguments, "txt": concept, "pe": pe}


@contextmanager
def _without_pooled_text(block: Any, network: Any, calls: Mapping[str, Call]) -> Iterator[None]:
    """The text stream's modulation from a zero pooled vector, which is what concepts have."""
    pooled = calls["vector_in"]
    without = network.vector_in(torch.zeros_like(pooled.arguments[0])) - pooled.output
    handle = block.txt_mod.register_forward_pre_hook(lambda _, args: (args[0] + without,))
    try:
        yield
    finally:
        handle.remove()


def _same_vector(network: Any, calls: Mapping[str, Call], rows: Any) -> Tensor:
    return sum(call.output for call in calls.values())[rows]


def _row(name: str, kind: str, guidance: bool) -> Row:
    return Row(
        name=name,
        adapter=flux,
        architecture="flux",
        kind=kind,
        config={**_SIZES, "guidance_embed": guidance},
        latent=(1, 16, 12, 8),
        grid=(1, 6, 4),
        text_width=48,
        extra={"pooled_output": lambda _, generator: torch.randn(1, 32, generator=generator)},
        first=_first,
        swap=_swap,
        text_in=lambda arguments: arguments["txt"],
        text_out=lambda output: output[1],
        around=_without_pooled_text,
        calm={"concept_modulation": _same_vector},
    )


ROWS = (
    _row("Flux.1 dev, Krea, Kontext, Fill, Canny, Depth", "Flux", guidance=True),
    _row("Flux.1 schnell", "FluxSchnell", guidance=False),
)
