"""Krea 2 in diffusers, which has one stream: text and image tokens share all weights.

Arguments are those of `Krea2TransformerBlock.forward` of diffusers/models/transformers/transformer_krea2.py (0.42).

Convention: text tokens come first, at the position (0, 0, 0), then the image's, row-major. Attention outputs are taken
before the block's sigmoid gate, which belongs to the projection. A concept's embedding has all layers of the text
encoder that the model reads, one after the other.
Source: arXiv:2502.04320, Sec. 4.1, carried over to one stream; the authors have no such model.
"""

from __future__ import annotations

from typing import Any

from diffusers import Krea2Transformer2DModel
from diffusers.models.transformers.transformer_krea2 import Krea2TransformerBlock
from torch import Tensor

from ..named import Arguments
from ..watch import BlockCall
from .own_block import OneStreamAdapter, Tokens, at_positions, grid_of_ids


class Krea2(OneStreamAdapter):
    """The adapter of Krea 2."""

    name = "krea2"
    transformer_class = Krea2Transformer2DModel
    block_class = Krea2TransformerBlock

    def text_width(self, transformer: Any) -> int:
        return int(transformer.config.num_text_layers * transformer.config.text_hidden_dim)

    def target_grid(self, transformer: Any, arguments: Arguments) -> tuple[int, int, int]:
        return grid_of_ids(arguments["position_ids"][-arguments["hidden_states"].shape[1] :])

    def image_tokens(self, call: BlockCall, keys: int) -> Tokens:
        return slice(keys - call.evaluation["hidden_states"].shape[1], keys)

    def project_concepts(self, transformer: Any, embeddings: Tensor, call: BlockCall) -> Tensor:
        """Each fused alone, as a prompt of one token."""
        layers = embeddings.unflatten(-1, (transformer.config.num_text_layers, -1)).flatten(0, 1)[:, None]
        return transformer.txt_in(transformer.text_fusion(layers)).view(*embeddings.shape[:2], -1)

    def concept_arguments(self, concept: Tensor, call: BlockCall) -> dict[str, Any]:
        return {
            "hidden_states": concept,
            "temb": call.select(call.arguments["temb"]),
            "image_rotary_emb": tuple(at_positions(part, 0, 0, concept) for part in call.arguments["image_rotary_emb"]),
        }
