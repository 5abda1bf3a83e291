"""Families whose layers attend to a text that one module has projected: PixArt, Sana, Allegro, Cosmos.

Follows `BasicTransformerBlock` of diffusers/models/attention.py, `SanaTransformerBlock` of sana_transformer.py,
`SanaVideoTransformerBlock` of transformer_sana_video.py, `AllegroTransformerBlock` of transformer_allegro.py and
`CosmosTransformerBlock` of transformer_cosmos.py (0.42). Sana's attention to itself is linear, that to the text is not.

Convention: image tokens are frame by frame, row-major.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from diffusers import (
    AllegroTransformer3DModel,
    CosmosTransformer3DModel,
    PixArtTransformer2DModel,
    SanaTransformer2DModel,
    SanaVideoTransformer3DModel,
)
from diffusers.models.attention import BasicTransformerBlock
from diffusers.models.transformers.sana_transformer import SanaTransformerBlock
from diffusers.models.transformers.transformer_allegro import AllegroTransformerBlock
from diffusers.models.transformers.transformer_cosmos import CosmosTransformerBlock
from diffusers.models.transformers.transformer_sana_video import SanaVideoTransformerBlock
from torch import Tensor

from ....architecture import Architecture
from ....encoded import ConceptText
from ...watch import BlockCall
from .adapter import CrossAdapter


class PixArt(CrossAdapter):
    """The adapter of PixArt alpha and sigma."""

    name = "pixart"
    transformer_class = PixArtTransformer2DModel
    block_class = BasicTransformerBlock
    projection = "caption_projection"


class Sana(CrossAdapter):
    """The adapter of Sana and Sana Sprint."""

    name = "sana"
    transformer_class = SanaTransformer2DModel
    block_class = SanaTransformerBlock
    projection = "caption_projection"

    def concept_tokens(self, transformer: Any, text: ConceptText, call: BlockCall) -> Tensor:
        return transformer.caption_norm(super().concept_tokens(transformer, text, call))


class SanaVideo(Sana):
    """The adapter of Sana Video."""

    name = "sana_video"
    transformer_class = SanaVideoTransformer3DModel
    block_class = SanaVideoTransformerBlock
    frames_per_latent = 4


class Allegro(CrossAdapter):
    """The adapter of Allegro, whose latent frames all stand for as many."""

    name = "allegro"
    transformer_class = AllegroTransformer3DModel
    block_class = AllegroTransformerBlock
    projection = "caption_projection"
    frames_per_latent = 4

    def describe(self, transformer: Any) -> Architecture:
        return replace(super().describe(transformer), frame_pattern=(self.frames_per_latent,))


class Cosmos(CrossAdapter):
    """The adapter of Cosmos 1, Predict 2 and 2.5, Transfer 2.5, and Anima."""

    name = "cosmos"
    transformer_class = CosmosTransformer3DModel
    block_class = CosmosTransformerBlock
    width_name = "text_embed_dim"
    frames_per_latent = 4

    def describe(self, transformer: Any) -> Architecture:
        first = transformer.config.extra_pos_embed_type is not None  # Cosmos 1, which has another autoencoder
        described = super().describe(transformer)
        return replace(described, frames_per_latent=8) if first else described

    def text_width(self, transformer: Any) -> int:
        projects = transformer.config.use_crossattn_projection
        return int(transformer.config["crossattn_proj_in_channels" if projects else self.width_name])

    def concept_tokens(self, transformer: Any, text: ConceptText, call: BlockCall) -> Tensor:
        tokens = text.tokens[None]
        return transformer.crossattn_proj(tokens) if transformer.config.use_crossattn_projection else tokens

    def with_text(self, text: Any, tokens: Tensor) -> Any:
        """Predict 2.5 gives its attention an image as well."""
        return (tokens, None) if isinstance(text, tuple) else tokens
