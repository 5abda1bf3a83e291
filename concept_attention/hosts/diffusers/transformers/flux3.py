"""Flux 3 in diffusers: Klein.

Arguments are those of `Flux3SingleTransformerBlock.forward` of diffusers/models/transformers/transformer_flux3.py
(0.42). Text and image first pass blocks of their own; then they share the weights of joint blocks, in which the text is
modulated as at timestep 0.

Convention: text tokens come first, then image tokens, row-major, then those of reference images.
Source: arXiv:2502.04320, Sec. 4.1, carried over to one stream; the authors have no such model.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from diffusers import Flux3Transformer2DModel
from diffusers.models.transformers.transformer_flux3 import Flux3SingleTransformerBlock
from torch import Tensor, nn

from ...architecture import Architecture
from ..watch import BlockCall
from .own_block import FluxLikeAdapter, at_positions


class Flux3(FluxLikeAdapter):
    """The adapter of Flux 3."""

    name = "flux3"
    transformer_class = Flux3Transformer2DModel
    block_class = Flux3SingleTransformerBlock
    blocks = "single_transformer_blocks"
    text_goes_on = False

    def describe(self, transformer: Any) -> Architecture:
        return replace(super().describe(transformer), patch=1)  # a latent pixel has all channels of a token

    def conditioning_module(self, transformer: Any) -> nn.Module | None:
        """The first block of the text alone, which gets the modulation and rotation of text."""
        return next(iter(transformer.txt_mode_blocks), None)

    def project_concepts(self, transformer: Any, embeddings: Tensor, call: BlockCall) -> Tensor:
        """Each through the text's own blocks alone, as a prompt of one token."""
        concept = transformer.context_embedder(embeddings).flatten(0, 1)[:, None]
        if call.conditioning:
            _, modulation, turns = call.conditioning
            own = call.select(modulation)[:, :1].repeat_interleave(embeddings.shape[1], dim=0)
            turns = tuple(part[self.concept_position, None] for part in turns)
            for block in transformer.txt_mode_blocks:
                concept = block(concept, own, turns)
        return concept.view(*embeddings.shape[:2], -1)

    def concept_arguments(self, concept: Tensor, call: BlockCall) -> dict[str, Any]:
        given = call.arguments
        return {
            **super().concept_arguments(concept, call),
            "temb_mod": call.select(given["temb_mod"])[:, : self.along],
            "temb_mod_context": at_positions(call.select(given["temb_mod_context"]), 1, 0, concept),
        }
