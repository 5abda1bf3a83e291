"""Fibo 2 in diffusers.

Follows `BriaFibo2TransformerBlock` of diffusers/models/transformers/transformer_bria_fibo2.py (0.42). All of its layers
attend to gist tokens, which a Perceiver has made of the whole prompt: no word has a place there. Some attend to the
words themselves as well, each to states of another depth of the text encoder. These are read.

Convention: text states are those of the Perceiver, then those of every such layer, side by side. The gist tokens come
before the image's and those of context images, or last where they are padded.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from diffusers import BriaFibo2Transformer2DModel
from diffusers.models.transformers.transformer_bria_fibo2 import BriaFibo2TransformerBlock
from torch import Tensor, nn

from ....encoded import ConceptText
from ....reasons import NotRecordable
from ...named import Arguments
from ...watch import BlockCall
from .adapter import CrossAdapter, Grid


class Fibo2(CrossAdapter):
    """The adapter of Fibo 2."""

    name = "fibo2"
    transformer_class = BriaFibo2Transformer2DModel
    block_class = BriaFibo2TransformerBlock
    attention_name = "cross_attention"

    def text_width(self, transformer: Any) -> int:
        return int(transformer.config.cap_feat_dim) * (1 + len(self.layers(transformer)))

    def default_layers(self, transformer: Any) -> tuple[int, ...]:
        return tuple(range(len(self.layers(transformer))))

    def layers(self, transformer: Any) -> list[nn.Module]:
        return [transformer.layers[number] for number in transformer.config.injection_layer_ids]

    def concept_keys(
        self, call: BlockCall, given: Arguments, tokens: Sequence[Tensor], texts: Sequence[ConceptText]
    ) -> tuple[list[Tensor], Any]:
        depths = 1 + len(self.layers(call.transformer))
        own = [part.unflatten(-1, (depths, -1))[..., 1 + call.layer, :] for part in tokens]
        return super().concept_keys(call, given, own, texts)[0], tokens

    def image_tokens(self, call: BlockCall, count: int, grid: Grid) -> slice:
        tokens, patch = grid[1] * grid[2], self.patch(call.transformer)[1]
        others = call.evaluation.get("context_latents") or ()
        context = sum((one.shape[2] // patch) * (one.shape[3] // patch) for one in others)
        first = 0 if call.arguments["attn_mask"] is not None else count - tokens - context
        if first < 0:
            raise NotRecordable(f"its layers have {count} tokens, what is made has {tokens}")
        return slice(first, first + tokens)
