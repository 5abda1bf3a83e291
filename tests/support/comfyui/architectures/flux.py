"""Tiny models of the Flux 1 adapter."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor

from concept_attention.hosts.comfyui.adapters.block_call import BlockCall, ModuleCall
from concept_attention.hosts.comfyui.adapters.flux import Flux

from .double_stream import tiny_double_stream
from .tiny_architecture import TinyArchitecture

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


class _WithPooledText(Flux):
    """Concepts have the prompt's pooled text, and so its modulation."""

    def prepare(self, network: Any, call: BlockCall) -> Tensor:
        return sum(part.output for part in call.calls.values())[call.rows]


def _normalised_first(network: Any, embeddings: Tensor, calls: Mapping[str, ModuleCall]) -> Tensor:
    return network.txt_in(network.txt_norm(embeddings))


def _pooled_variant(name: str, kind: str, guidance: bool) -> TinyArchitecture:
    return tiny_double_stream(
        name,
        Flux(),
        "flux",
        kind,
        {**_SIZES, "guidance_embed": guidance},
        extra={"pooled_output": lambda _, generator: torch.randn(1, 32, generator=generator)},
        around=_without_pooled_text,
        as_prompt=_WithPooledText(),
    )


VARIANTS = (
    _pooled_variant("Flux.1 dev, Krea, Kontext, Fill, Canny, Depth", "Flux", guidance=True),
    _pooled_variant("Flux.1 schnell", "FluxSchnell", guidance=False),
    tiny_double_stream("LongCat-Image", Flux(), "flux", "LongCatImage", _UNPOOLED),
    tiny_double_stream(
        "Ovis-Image",
        Flux(),
        "flux",
        "FluxSchnell",
        {**_UNPOOLED, "yak_mlp": True, "txt_norm": True},
        project=_normalised_first,
        position=1,
    ),
)
