"""Chroma, LongCat-Image, Ovis-Image and Bria in diffusers, whose joint blocks are Flux 1's with another modulation.

Arguments are those of the blocks' `forward` in diffusers/models/transformers/transformer_chroma.py,
transformer_longcat_image.py, transformer_ovis_image.py and transformer_bria.py (0.42). In none of them a pooled text
takes part.

Convention: text tokens come first, then image tokens, row-major over 2x2 latent patches, then reference images.
Source: arXiv:2502.04320, Sec. 4; concepts have the position of the first text token, as in Flux 1.
"""

from __future__ import annotations

from typing import Any

from diffusers import (
    BriaTransformer2DModel,
    ChromaTransformer2DModel,
    LongCatImageTransformer2DModel,
    OvisImageTransformer2DModel,
)
from diffusers.models.transformers.transformer_bria import BriaTransformerBlock
from diffusers.models.transformers.transformer_chroma import ChromaTransformerBlock
from diffusers.models.transformers.transformer_longcat_image import LongCatImageTransformerBlock
from diffusers.models.transformers.transformer_ovis_image import OvisImageTransformerBlock
from torch import Tensor

from ..watch import BlockCall
from .own_block import FluxLikeAdapter


class Chroma(FluxLikeAdapter):
    """The adapter of Chroma, whose blocks get their modulation from one network."""

    name = "chroma"
    transformer_class = ChromaTransformer2DModel
    block_class = ChromaTransformerBlock


class LongCatImage(FluxLikeAdapter):
    """The adapter of LongCat-Image."""

    name = "longcat_image"
    transformer_class = LongCatImageTransformer2DModel
    block_class = LongCatImageTransformerBlock


class OvisImage(FluxLikeAdapter):
    """The adapter of Ovis-Image."""

    name = "ovis_image"
    transformer_class = OvisImageTransformer2DModel
    block_class = OvisImageTransformerBlock
    concept_position = 1  # what is left of the chat template begins with a colon

    def project_concepts(self, transformer: Any, embeddings: Tensor, call: BlockCall) -> Tensor:
        return transformer.context_embedder(transformer.context_embedder_norm(embeddings))


class Bria(FluxLikeAdapter):
    """The adapter of Bria 3."""

    name = "bria"
    transformer_class = BriaTransformer2DModel
    block_class = BriaTransformerBlock
