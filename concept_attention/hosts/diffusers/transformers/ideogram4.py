"""Ideogram 4 in diffusers, which has one stream: text and image tokens share all weights.

Arguments are those of `Ideogram4TransformerBlock.forward` of diffusers/models/transformers/transformer_ideogram4.py
(0.42).

Convention: text tokens come first, padded at the left, then the image's, row-major. Without a prompt there are the
image's alone. A concept's embedding has all layers of the text encoder that the model reads.
Source: arXiv:2502.04320, Sec. 4.1, carried over to one stream; the authors have no such model.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import torch
from diffusers import Ideogram4Transformer2DModel
from diffusers.models.transformers.transformer_ideogram4 import (
    LLM_TOKEN_INDICATOR,
    OUTPUT_IMAGE_INDICATOR,
    Ideogram4TransformerBlock,
)
from torch import Tensor

from ...architecture import Architecture
from ...reasons import NotRecordable
from ..named import Arguments
from ..watch import BlockCall
from .own_block import OneStreamAdapter, Tokens, grid_of_ids


class Ideogram4(OneStreamAdapter):
    """The adapter of Ideogram 4."""

    name = "ideogram4"
    transformer_class = Ideogram4Transformer2DModel
    block_class = Ideogram4TransformerBlock
    blocks = "layers"
    concept_position = 3  # of the chat template, before the words of a prompt

    def describe(self, transformer: Any) -> Architecture:
        # A latent pixel has all channels of a token.
        return replace(super().describe(transformer), patch=1, concept_position=self.concept_position)

    def text_width(self, transformer: Any) -> int:
        return int(transformer.llm_cond_proj.in_features)

    def target_grid(self, transformer: Any, arguments: Arguments) -> tuple[int, int, int]:
        return grid_of_ids(arguments["position_ids"][0, arguments["indicator"][0] == OUTPUT_IMAGE_INDICATOR])

    def image_tokens(self, call: BlockCall, keys: int) -> Tokens:
        return slice(keys - int((call.evaluation["indicator"][0] == OUTPUT_IMAGE_INDICATOR).sum()), keys)

    def project_concepts(self, transformer: Any, embeddings: Tensor, call: BlockCall) -> Tensor:
        concept = transformer.llm_cond_proj(transformer.llm_cond_norm(embeddings))
        not_image = torch.zeros(1, 1, dtype=torch.long, device=concept.device)
        return concept + transformer.embed_image_indicator(not_image)

    def concept_arguments(self, concept: Tensor, call: BlockCall) -> dict[str, Any]:
        places = self._places(call)
        given, each = call.arguments, torch.arange(len(places), device=places.device)
        turns = (call.select(part) for part in given["image_rotary_emb"])
        condition = call.select(given["adaln_input"])  # one for all tokens, or each its own
        return {
            "hidden_states": concept,
            "attention_mask": None,
            "image_rotary_emb": tuple(part[each, places, None].expand(-1, concept.shape[1], -1) for part in turns),
            "adaln_input": condition if condition.shape[1] == 1 else condition[each, places, None],
        }

    def _places(self, call: BlockCall) -> Tensor:
        """Index of the token whose position the concepts have, in each row."""
        text = call.select(call.evaluation["indicator"]) == LLM_TOKEN_INDICATOR
        if not text.any(dim=1).all():
            raise NotRecordable("there is no prompt")
        return text.int().argmax(dim=1) + torch.clamp(text.sum(dim=1) - 1, max=self.concept_position)
