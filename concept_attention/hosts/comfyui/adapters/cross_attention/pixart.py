"""PixArt alpha and sigma in ComfyUI.

Follows `MultiHeadCrossAttention` of comfy/ldm/pixart/blocks.py and `PixArtMS.forward_orig` (0.19 to 0.33). The keys of
a batch come as one row, those of all prompts one after the other.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from comfy.ldm.pixart.pixartms import PixArtMS
from torch import Tensor

from ....architecture import Architecture, middle_layers
from ....encoded import ConceptText
from ..block_call import BlockCall
from ..network import Layers, network_of
from .adapter import CrossAdapter, CrossModules


class PixArt(CrossAdapter):
    supported = ("PixArt",)

    def matches(self, model: Any) -> bool:
        return isinstance(network_of(model), PixArtMS)

    def describe(self, model: Any) -> Architecture:
        network = network_of(model)
        count = len(network.blocks)
        return Architecture(
            name="pixart",
            layer_count=count,
            text_width=network.y_embedder.y_proj.fc1.in_features,
            patch=network.patch_size,
            default_layers=middle_layers(count, 1 / 3),
            reading="cross",
        )

    def layers(self, network: Any) -> Layers:
        return network.blocks

    def cross_modules(self, block: Any) -> CrossModules:
        attn = block.cross_attn
        return CrossModules(attn.q_linear, attn.kv_linear, attn.proj, attn.num_heads)

    def refine_tokens(
        self, network: Any, tokens: Sequence[Tensor], texts: Sequence[ConceptText], call: BlockCall
    ) -> Sequence[Tensor]:
        return [network.y_embedder(part, False) for part in tokens]

    def prompt_keys(self, block: Any, keys: Tensor, batch: int, call: BlockCall) -> Tensor:
        return keys.chunk(2, dim=-1)[0].reshape(batch, -1, keys.shape[-1] // 2)

    def concept_keys(self, block: Any, tokens: Tensor, call: BlockCall) -> Tensor:
        return block.cross_attn.kv_linear(tokens).chunk(2, dim=-1)[0]
