"""Ernie-Image in diffusers, which has one stream: text and image tokens share all weights.

Arguments are those of `ErnieImageSharedAdaLNBlock.forward` of diffusers/models/transformers/transformer_ernie_image.py
(0.42), whose first axis is that of the tokens.

Convention: image tokens come first, row-major, then text tokens, which are rotated by their index.
Source: arXiv:2502.04320, Sec. 4.1, carried over to one stream; the authors have no such model.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from diffusers import ErnieImageTransformer2DModel
from diffusers.models.transformers.transformer_ernie_image import ErnieImageSharedAdaLNBlock
from torch import Tensor

from ...architecture import Architecture
from ..named import Arguments
from ..watch import BlockCall
from .own_block import OneStreamAdapter, Tokens, at_positions


class ErnieImage(OneStreamAdapter):
    """The adapter of Ernie-Image."""

    name = "ernie_image"
    transformer_class = ErnieImageTransformer2DModel
    block_class = ErnieImageSharedAdaLNBlock
    blocks = "layers"
    text_argument = "x"
    concept_position = 1  # behind the start token

    def describe(self, transformer: Any) -> Architecture:
        described = replace(super().describe(transformer), concept_position=self.concept_position)
        return replace(described, patch=transformer.patch_size)

    def text_width(self, transformer: Any) -> int:
        return int(transformer.text_in_dim)

    def target_grid(self, transformer: Any, arguments: Arguments) -> tuple[int, int, int]:
        *_, height, width = arguments["hidden_states"].shape
        return 1, height // transformer.patch_size, width // transformer.patch_size

    def image_tokens(self, call: BlockCall, keys: int) -> Tokens:
        return slice(0, self._image_length(call))

    def project_concepts(self, transformer: Any, embeddings: Tensor, call: BlockCall) -> Tensor:
        return embeddings if transformer.text_proj is None else transformer.text_proj(embeddings)

    def concept_arguments(self, concept: Tensor, call: BlockCall) -> dict[str, Any]:
        given, place = call.arguments, self._image_length(call) + self.concept_position
        place = min(place, given["rotary_pos_emb"].shape[1] - 1)  # an empty prompt is the start token alone
        return {
            "x": concept.transpose(0, 1),
            "rotary_pos_emb": at_positions(call.select(given["rotary_pos_emb"]), 1, place, concept),
            "temb": [part[:1, call.rows].expand(concept.shape[1], -1, -1) for part in given["temb"]],
        }

    def concept_tokens(self, output: Any) -> Tensor:
        return output.transpose(0, 1)

    def _image_length(self, call: BlockCall) -> int:
        _, rows, columns = self.target_grid(call.transformer, call.evaluation)
        return rows * columns
