"""Flux 2 in diffusers: dev and Klein.

Phases follow `Flux2TransformerBlock.forward` and `Flux2AttnProcessor.__call__` of
diffusers/models/transformers/transformer_flux2.py (0.42), so the two can be diffed. All blocks share one modulation,
made once per evaluation without a pooled text vector; concepts have exactly the text's.

Convention: text tokens come first, then image tokens, row-major over 2x2 latent patches.
Source: the authors' code for Flux 2 dev, in which every concept has the position of the last word of a prompt.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any, ClassVar

import torch
from diffusers import Flux2Transformer2DModel
from diffusers.models.transformers.transformer_flux2 import Flux2Modulation, Flux2TransformerBlock
from torch import Tensor, nn

from ...architecture import AUTHORS_FLUX2_LAYERS, Architecture, last_layers
from .flux import Flux
from .rotary import rotate
from .text_path import BlockArguments, Modulation


class Flux2(Flux):
    """The adapter of Flux 2."""

    name = "flux2"
    transformer_class = Flux2Transformer2DModel
    block_class = Flux2TransformerBlock
    # The position of the word in a prompt of one word. Dev's Mistral encoder is padded at the left to 512 tokens, of
    # which the last ends the chat template; Klein's Qwen encoder is padded at the right, after three template tokens.
    dev_position: ClassVar[int] = 510
    klein_position: ClassVar[int] = 3

    def describe(self, transformer: Any) -> Architecture:
        position = self.dev_position if transformer.config.guidance_embeds else self.klein_position
        return replace(super().describe(transformer), pooled_text=True, concept_position=position)

    def default_layers(self, layer_count: int) -> tuple[int, ...]:
        return last_layers(layer_count, AUTHORS_FLUX2_LAYERS)

    def conditioning_module(self, transformer: Any) -> nn.Module:
        """The module that turns position ids into rotations."""
        return transformer.pos_embed

    def concept_conditioning(self, transformer: Any, arguments: tuple[Any, ...]) -> Any:
        """Cosine and sine of the rotation that all concepts have, (1, head_dim) each."""
        (ids,) = arguments
        position = torch.zeros_like(ids[:1])
        position[:, -1] = self.describe(transformer).concept_position
        return transformer.pos_embed.forward(position)  # not the module itself, whose hook is what called us

    def modulate_concepts(
        self, block: Any, concept: Tensor, vec: Any, block_arguments: BlockArguments
    ) -> tuple[Tensor, Modulation]:
        temb_mod_txt = block_arguments["temb_mod_txt"][-len(concept) :]
        (shift, scale, gate), (shift_mlp, scale_mlp, gate_mlp) = Flux2Modulation.split(temb_mod_txt, 2)
        concept_norm = (1 + scale) * block.norm1_context(concept) + shift
        return concept_norm, Modulation(gate, shift_mlp, scale_mlp, gate_mlp)

    def rotate_concepts(self, heads: Tensor, vec: tuple[Tensor, Tensor]) -> Tensor:
        """Queries or keys (B, heads, C, head_dim), all rotated alike."""
        cos, sin = (part.expand(heads.shape[2], -1) for part in vec)
        return rotate(heads.transpose(1, 2), cos, sin).transpose(1, 2)
