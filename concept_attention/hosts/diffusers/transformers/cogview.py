"""CogView 3 Plus and CogView 4 in diffusers.

Arguments are those of the blocks' `forward` in diffusers/models/transformers/transformer_cogview3plus.py and
transformer_cogview4.py (0.42). Text and image share a block's projections; only their modulation differs.

Convention: text tokens come first, without a position, then the image's, row-major over 2x2 latent pixels.
Source: arXiv:2502.04320, Sec. 4, which has CogVideoX.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from diffusers import CogView3PlusTransformer2DModel, CogView4Transformer2DModel
from diffusers.models.transformers.transformer_cogview3plus import CogView3PlusTransformerBlock
from diffusers.models.transformers.transformer_cogview4 import CogView4TransformerBlock
from torch import Tensor

from ...architecture import Architecture
from ..named import Arguments
from ..watch import BlockCall
from .own_block import TwoStreamAdapter


class CogView4(TwoStreamAdapter):
    """The adapter of CogView 4."""

    name = "cogview4"
    transformer_class = CogView4Transformer2DModel
    block_class = CogView4TransformerBlock
    text_output = 1

    def describe(self, transformer: Any) -> Architecture:
        return replace(super().describe(transformer), patch=transformer.config.patch_size)

    def text_width(self, transformer: Any) -> int:
        return int(transformer.config.text_embed_dim)

    def target_grid(self, transformer: Any, arguments: Arguments) -> tuple[int, int, int]:
        *_, height, width = arguments["hidden_states"].shape
        patch = transformer.config.patch_size
        return 1, height // patch, width // patch

    def project_concepts(self, transformer: Any, embeddings: Tensor, call: BlockCall) -> Tensor:
        return transformer.patch_embed.text_proj(embeddings)

    def position_arguments(self, concept: Tensor, call: BlockCall) -> dict[str, Any]:
        return {"image_rotary_emb": tuple(part[: self.along] for part in call.arguments["image_rotary_emb"])}


class CogView3Plus(CogView4):
    """The adapter of CogView 3 Plus, in which nothing is rotated."""

    name = "cogview3plus"
    transformer_class = CogView3PlusTransformer2DModel
    block_class = CogView3PlusTransformerBlock

    def position_arguments(self, concept: Tensor, call: BlockCall) -> dict[str, Any]:
        return {"emb": call.select(call.arguments["emb"])}
