"""Flux 2 in diffusers: dev and Klein.

Phases follow `Flux2TransformerBlock.forward` and `Flux2AttnProcessor.__call__` of
diffusers/models/transformers/transformer_flux2.py (0.42), so the two can be diffed. All blocks share their modulation,
which is made once; there is no pooled text vector in it, and concepts have exactly the text's.

Convention: text tokens come first, then image tokens, row-major over 2x2 latent patches.
Source: the authors' code for Flux 2 dev, in which every concept has the place of the last word of a prompt.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import torch
from diffusers import Flux2Transformer2DModel
from diffusers.models.transformers.transformer_flux2 import Flux2Modulation
from torch import Tensor, nn

from .... import attention
from ...architecture import AUTHORS_FLUX2_LAYERS, Architecture, last_layers
from . import flux
from .rotary import rotate

# Where a prompt of one word has it: dev's Mistral encoder is padded at the left to 512 tokens, of which the last one
# ends the chat template; Klein's Qwen encoder is padded at the right, and the template begins with three tokens.
DEV_POSITION = 510
KLEIN_POSITION = 3


class Modulation(NamedTuple):
    """What is done to the text stream after its attention, each (B or 1, 1, D)."""

    gate_attn: Tensor
    shift_mlp: Tensor
    scale_mlp: Tensor
    gate_mlp: Tensor


def matches(transformer: nn.Module) -> bool:
    return isinstance(transformer, Flux2Transformer2DModel)


def describe(transformer: Any) -> Architecture:
    config = transformer.config
    count = len(transformer.transformer_blocks)
    return Architecture(
        name="flux2",
        joint_blocks=count,
        text_width=config.joint_attention_dim,
        patch=2,
        default_layers=last_layers(count, AUTHORS_FLUX2_LAYERS),
        concept_position=DEV_POSITION if config.guidance_embeds else KLEIN_POSITION,
    )


token_slices = flux.token_slices
hook_points = flux.hook_points
image_keys = flux.image_keys
image_values = flux.image_values


def conditioning_module(transformer: Any) -> nn.Module:
    """The module that turns the places of tokens into their rotation."""
    return transformer.pos_embed


def concept_conditioning(transformer: Any, arguments: tuple[Any, ...]) -> tuple[Tensor, Tensor]:
    """Cosine and sine of the rotation that all concepts have, (1, head_dim) each."""
    (ids,) = arguments
    place = torch.zeros_like(ids[:1])
    place[:, -1] = describe(transformer).concept_position
    return transformer.pos_embed.forward(place)  # not the module itself, whose hook is what called us


project_concepts = flux.project_concepts


def attend_concepts(
    block: Any,
    concept: Tensor,
    vec: tuple[Tensor, Tensor],
    image_k: Tensor,
    image_v: Tensor,
    block_arguments: Mapping[str, Any],
    key_bias: Tensor | None = None,
) -> tuple[Tensor, Modulation]:
    """One joint block's attention for the concept tokens.

    Args:
        block: a Flux2TransformerBlock.
        concept: concept tokens, (B, C, D).
        vec: cosine and sine of their rotation, (1, head_dim) each.
        image_k, image_v: keys, normalised and rotated, and values of the image tokens, (B, heads, N, head_dim).
        block_arguments: the arguments the block itself was called with; the last B rows are the concepts'.
        key_bias: added to the concept keys' logits, (C,).

    Returns:
        The attention output before the projection, (B, C, heads * head_dim), and the rest of the modulation.
    """
    told = block_arguments["temb_mod_txt"][-len(concept) :]
    (shift, scale, gate), (shift_mlp, scale_mlp, gate_mlp) = Flux2Modulation.split(told, 2)
    concept_norm = (1 + scale) * block.norm1_context(concept) + shift

    attn, count = block.attn, concept.shape[1]
    concept_q, concept_k, concept_v = (
        part.unflatten(-1, (-1, attn.head_dim)) for part in flux.project_text(block, concept_norm)
    )
    cos, sin = (part.expand(count, -1) for part in vec)
    concept_q, concept_k = (
        rotate(part, cos, sin) for part in (attn.norm_added_q(concept_q), attn.norm_added_k(concept_k))
    )

    concept_q, concept_k, concept_v = (heads.transpose(1, 2) for heads in (concept_q, concept_k, concept_v))
    concept_out = attention.attend_concepts(concept_q, concept_k, concept_v, image_k, image_v, key_bias=key_bias)
    return concept_out, Modulation(gate, shift_mlp, scale_mlp, gate_mlp)


def update_concepts(block: Any, concept: Tensor, concept_out: Tensor, modulation: Modulation) -> Tensor:
    """The rest of the block's text path: projection, gate and MLP. (B, C, D) to (B, C, D)."""
    concept = concept + modulation.gate_attn * block.attn.to_add_out(concept_out)
    concept_norm = block.norm2_context(concept)
    concept_norm = concept_norm * (1 + modulation.scale_mlp) + modulation.shift_mlp
    concept = concept + modulation.gate_mlp * block.ff_context(concept_norm)
    if concept.dtype == torch.float16:
        concept = concept.clip(-65504, 65504)
    return concept
