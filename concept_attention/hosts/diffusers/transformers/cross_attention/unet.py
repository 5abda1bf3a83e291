"""Stable Diffusion 1 and 2, SDXL and other U-Nets of diffusers with cross-attention.

Follows `BasicTransformerBlock` of diffusers/models/attention.py and `UNet2DConditionModel` (0.42).

Convention: a layer is one transformer block, in the order in which they run: down, middle, up. Their maps have several
sizes; recordings have the finest, and coarser ones are interpolated. By default the layers on the way up of the two
coarsest sizes there are read: 16 x 16 and 32 x 32 tokens at 512 pixels in Stable Diffusion 1, 32 x 32 and 64 x 64 at
1024 pixels in SDXL.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

from diffusers import UNet2DConditionModel
from diffusers.models.attention import BasicTransformerBlock
from torch import Tensor, nn

from ....encoded import ConceptText
from ...named import Arguments
from ...watch import BlockCall
from .adapter import CrossAdapter, Grid


class _Place(NamedTuple):
    """A layer of a U-Net.

    Attributes:
        block: of it.
        halved: how often its tokens are half as many along a side as the latent's pixels.
        up: whether it is on the way up.
    """

    block: Any
    halved: int
    up: bool


class UNet(CrossAdapter):
    """The adapter of U-Nets."""

    name = "unet"
    transformer_class = UNet2DConditionModel
    block_class = BasicTransformerBlock

    def matches(self, transformer: nn.Module) -> bool:
        return super().matches(transformer) and bool(self.layers(transformer))

    def text_width(self, transformer: Any) -> int:
        projection = _projection(transformer)
        first = _places(transformer)[0].block.attn2
        return int(first.cross_attention_dim if projection is None else projection.in_features)

    def default_layers(self, transformer: Any) -> tuple[int, ...]:
        places = _places(transformer)
        up = [layer for layer, place in enumerate(places) if place.up] or list(range(len(places)))
        coarsest = sorted({places[layer].halved for layer in up})[-2:]
        return tuple(layer for layer in up if places[layer].halved in coarsest)

    def patch(self, transformer: Any) -> tuple[int, int]:
        return 1, 2 ** _finest(transformer)

    def batch_size(self, arguments: Arguments) -> int:
        return len(arguments["sample"])

    def target_grid(self, transformer: Any, arguments: Arguments) -> Grid:
        return _halved(arguments["sample"], _finest(transformer))

    def latent_sides(self, arguments: Arguments) -> tuple[int, int] | None:
        height, width = arguments["sample"].shape[2:]
        return height, width

    def layer_grid(self, transformer: Any, layer: int, arguments: Arguments) -> Grid:
        return _halved(arguments["sample"], _places(transformer)[layer].halved)

    def layers(self, transformer: Any) -> list[nn.Module]:
        return [place.block for place in _places(transformer)]

    def concept_tokens(self, transformer: Any, text: ConceptText, call: BlockCall) -> Tensor:
        projection = _projection(transformer)
        return text.tokens[None] if projection is None else projection(text.tokens[None])

    def with_text(self, text: Any, tokens: Tensor) -> Any:
        """IP-Adapters put images behind the text."""
        return (tokens, []) if isinstance(text, tuple) else tokens


def _projection(transformer: Any) -> Any:
    """The module that the text goes through first, as in Kolors; None if there is none."""
    kept = getattr(transformer, "text_encoder_hid_proj", None)  # by an IP-Adapter, which takes its place
    return transformer.encoder_hid_proj if transformer.config.encoder_hid_dim_type == "text_proj" else kept


def _places(transformer: Any) -> list[_Place]:
    """The layers with cross-attention, in the order in which they run."""
    found: list[_Place] = []
    halved = 0
    for part in transformer.down_blocks:
        found.extend(_places_of(part, halved, up=False))
        halved += bool(getattr(part, "downsamplers", None))
    found.extend(_places_of(transformer.mid_block, halved, up=False))
    for part in transformer.up_blocks:
        found.extend(_places_of(part, halved, up=True))
        halved -= bool(getattr(part, "upsamplers", None))
    return found


def _places_of(part: Any, halved: int, up: bool) -> Iterator[_Place]:
    for attention in getattr(part, "attentions", None) or ():
        blocks = getattr(attention, "transformer_blocks", ())
        yield from (_Place(block, halved, up) for block in blocks if getattr(block, "attn2", None) is not None)


def _finest(transformer: Any) -> int:
    return min(place.halved for place in _places(transformer))


def _halved(latent: Tensor, times: int) -> Grid:
    """The token grid of a latent whose sides are halved so many times, which rounds up."""
    rows, columns = (-(-side // 2**times) for side in latent.shape[2:])
    return 1, rows, columns
