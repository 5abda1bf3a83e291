"""Stable Diffusion 1 and 2, SDXL with its refiner, and other U-Nets of ComfyUI with cross-attention.

Follows `CrossAttention` and `SpatialTransformer` of comfy/ldm/modules/attention.py (0.19 to 0.33).

Convention: a layer is one transformer block, in the order in which they run: down, middle, up. Their maps have several
sizes; recordings have the finest, and coarser ones are interpolated. By default the layers on the way up of the two
coarsest sizes there are read: 16 x 16 and 32 x 32 tokens at 512 pixels in Stable Diffusion 1, 32 x 32 and 64 x 64 at
1024 pixels in SDXL.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

from comfy.ldm.modules.attention import BasicTransformerBlock, SpatialTransformer, SpatialVideoTransformer
from comfy.ldm.modules.diffusionmodules.openaimodel import Downsample, UNetModel, Upsample
from torch import Tensor

from ....architecture import Architecture
from ...guard import NotRecordable
from ..block_call import BlockCall
from ..network import Layers, network_of
from .adapter import CrossAdapter, CrossModules, Grid


class _Place(NamedTuple):
    """A layer of a U-Net: its block, the latent pixels that its tokens cover, and whether it is on the way up."""

    block: Any
    step: int
    up: bool


class UNet(CrossAdapter):
    supported = ("Stable Diffusion 1", "Stable Diffusion 2", "SDXL")

    def matches(self, model: Any) -> bool:
        network = network_of(model)
        if not isinstance(network, UNetModel):
            return False
        videos = any(isinstance(module, SpatialVideoTransformer) for module in network.modules())
        return not videos and any(True for _ in _places(network))

    def describe(self, model: Any) -> Architecture:
        network = network_of(model)
        places = list(_places(network))
        up = [layer for layer, place in enumerate(places) if place.up] or list(range(len(places)))
        steps = sorted({places[layer].step for layer in up}, reverse=True)[:2]
        return Architecture(
            name="unet",
            layer_count=len(places),
            text_width=places[0].block.attn2.to_k.in_features,
            patch=min(place.step for place in places),
            default_layers=tuple(layer for layer in up if places[layer].step in steps),
            reading="cross",
        )

    def layers(self, network: Any) -> Layers:
        return [place.block for place in _places(network)]

    def cross_modules(self, block: Any) -> CrossModules:
        attn = block.attn2
        return CrossModules(attn.to_q, attn.to_k, attn.to_out, attn.heads)

    def concept_keys(self, block: Any, tokens: Tensor, call: BlockCall) -> Tensor:
        return block.attn2.to_k(tokens)

    def image_tokens(self, network: Any, call: BlockCall, count: int, grid: Grid) -> tuple[slice, Grid]:
        _, _, rows, columns = call.arguments["transformer_options"]["activations_shape"]
        if rows * columns != count or rows > grid[1] or columns > grid[2]:
            raise NotRecordable(f"a layer's cross-attention has {count} image tokens, its picture {columns} x {rows}")
        return slice(0, count), (1, rows, columns)


def _places(network: Any) -> Iterator[_Place]:
    """The layers with cross-attention, in the order in which they run."""
    step = 1
    parts = [(part, False) for part in network.input_blocks]
    parts += [(network.middle_block, False)] if network.middle_block is not None else []
    parts += [(part, True) for part in network.output_blocks]
    for part, up in parts:
        for module in part:
            if isinstance(module, SpatialTransformer):
                blocks = (block for block in module.transformer_blocks if isinstance(block, BasicTransformerBlock))
                yield from (_Place(block, step, up) for block in blocks if block.attn2 is not None)
            step = step * 2 if isinstance(module, Downsample) else step
            step = step // 2 if isinstance(module, Upsample) else step
