"""Flux 1 (schnell, dev and their fine-tunes) in diffusers.

Phases follow `FluxTransformerBlock.forward` and `FluxAttnProcessor.__call__` of
diffusers/models/transformers/transformer_flux.py (0.42), so the two can be diffed.

Convention: text tokens come first, then image tokens, row-major over 2x2 latent patches.
Source: arXiv:2502.04320, Sec. 4; the position ids and the modulation of concepts are the authors' (all ids zero,
a zero pooled vector).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import torch
from diffusers import FluxTransformer2DModel
from einops import rearrange
from torch import Tensor, nn

from .... import attention
from ...architecture import AUTHORS_FLUX_LAYERS, Architecture, TokenSlices, last_layers
from .hook_points import HookPoints
from .rotary import rotate


class Modulation(NamedTuple):
    """What the text stream's adaptive norm gives besides the normalised tokens, each (B, D)."""

    gate_attn: Tensor
    shift_mlp: Tensor
    scale_mlp: Tensor
    gate_mlp: Tensor


def matches(transformer: nn.Module) -> bool:
    return isinstance(transformer, FluxTransformer2DModel)


def describe(transformer: Any) -> Architecture:
    config = transformer.config
    count = len(transformer.transformer_blocks)
    return Architecture(
        name="flux",
        joint_blocks=count,
        text_width=config.joint_attention_dim,
        patch=2,
        default_layers=last_layers(count, AUTHORS_FLUX_LAYERS),
        pooled_text=False,
    )


def pack_latents(latents: Tensor) -> Tensor:
    """VAE latents (B, C, H, W) to image tokens (B, H/2 * W/2, C * 4), row-major."""
    return rearrange(latents, "b c (h p) (w q) -> b (h w) (c p q)", p=2, q=2)


def unpack_latents(tokens: Tensor, rows: int) -> Tensor:
    """The inverse of `pack_latents` for a grid of `rows` rows."""
    return rearrange(tokens, "b (h w) (c p q) -> b c (h p) (w q)", h=rows, p=2, q=2)


def position_ids(rows: int, columns: int, device: torch.device) -> Tensor:
    """Position ids (0, row, column) of the image tokens, (rows * columns, 3)."""
    ids = torch.zeros(rows, columns, 3, device=device)
    ids[..., 1] = torch.arange(rows, device=device)[:, None]
    ids[..., 2] = torch.arange(columns, device=device)
    return ids.reshape(-1, 3)


def token_slices(block_arguments: Mapping[str, Any]) -> TokenSlices:
    text = block_arguments["encoder_hidden_states"].shape[1]
    return TokenSlices(image=slice(text, None))


def hook_points(block: Any) -> HookPoints:
    attn = block.attn
    return HookPoints(attn.norm_k, attn.to_qkv if attn.fused_projections else attn.to_v, attn.to_out[0])


def image_keys(block: Any, passed: Tensor, block_arguments: Mapping[str, Any]) -> Tensor:
    """What `hook_points` delivers, (B, N, heads, head_dim), as keys that are ready, (B, heads, N, head_dim)."""
    image = token_slices(block_arguments).image
    cos, sin = block_arguments["image_rotary_emb"]
    return rotate(passed, cos[image], sin[image]).transpose(1, 2)


def image_values(block: Any, passed: Tensor, block_arguments: Mapping[str, Any]) -> Tensor:
    """What `hook_points` delivers, (B, N, D), or with q and k before it, as values, (B, heads, N, head_dim)."""
    if block.attn.fused_projections:
        passed = passed.chunk(3, dim=-1)[2]
    return passed.unflatten(-1, (-1, block.attn.head_dim)).transpose(1, 2)


def conditioning_module(transformer: Any) -> nn.Module:
    """The module that turns (timestep, [guidance], pooled) into the modulation vector."""
    return transformer.time_text_embed


def concept_conditioning(transformer: Any, arguments: tuple[Any, ...]) -> Tensor:
    """The concepts' modulation vector, (B, D): timestep and guidance of this evaluation, a zero pooled vector."""
    *conditions, pooled = arguments
    # `forward`, not the module itself, whose hook is what called us.
    return transformer.time_text_embed.forward(*conditions, torch.zeros_like(pooled))


def project_concepts(transformer: Any, embeddings: Tensor) -> Tensor:
    """Text encoder embeddings (B, C, E) to block-0 concept tokens (B, C, D)."""
    return transformer.context_embedder(embeddings)


def attend_concepts(
    block: Any,
    concept: Tensor,
    vec: Tensor,
    image_k: Tensor,
    image_v: Tensor,
    block_arguments: Mapping[str, Any],
    key_bias: Tensor | None = None,
) -> tuple[Tensor, Modulation]:
    """One joint block's attention for the concept tokens.

    Args:
        block: a FluxTransformerBlock.
        concept: concept tokens, (B, C, D).
        vec: their modulation vector, (B, D).
        image_k, image_v: keys, normalised and rotated, and values of the image tokens, (B, heads, N, head_dim).
        block_arguments: the arguments the block itself was called with.
        key_bias: added to the concept keys' logits, (C,).

    Returns:
        The attention output before the projection, (B, C, heads * head_dim), and the rest of the modulation.
    """
    attn = block.attn
    concept_norm, *modulation = block.norm1_context(concept, emb=vec[-len(concept) :])

    concept_q, concept_k, concept_v = project_text(block, concept_norm)
    concept_q = attn.norm_added_q(concept_q.unflatten(-1, (-1, attn.head_dim)))
    concept_k = attn.norm_added_k(concept_k.unflatten(-1, (-1, attn.head_dim)))
    concept_v = concept_v.unflatten(-1, (-1, attn.head_dim))

    # Concepts have position ids (0, 0, 0), whose rotation is the identity.
    concept_q, concept_k, concept_v = (heads.transpose(1, 2) for heads in (concept_q, concept_k, concept_v))
    concept_out = attention.attend_concepts(concept_q, concept_k, concept_v, image_k, image_v, key_bias=key_bias)
    return concept_out, Modulation(*modulation)


def project_text(block: Any, tokens: Tensor) -> tuple[Tensor, ...]:
    """Queries, keys and values by the text stream's weights, (B, tokens, D) each."""
    attn = block.attn
    if attn.fused_projections:
        return attn.to_added_qkv(tokens).chunk(3, dim=-1)
    return attn.add_q_proj(tokens), attn.add_k_proj(tokens), attn.add_v_proj(tokens)


def update_concepts(block: Any, concept: Tensor, concept_out: Tensor, modulation: Modulation) -> Tensor:
    """The rest of the block's text path: projection, gate and MLP. (B, C, D) to (B, C, D)."""
    concept = concept + modulation.gate_attn.unsqueeze(1) * block.attn.to_add_out(concept_out)
    concept_norm = block.norm2_context(concept)
    concept_norm = concept_norm * (1 + modulation.scale_mlp[:, None]) + modulation.shift_mlp[:, None]
    concept = concept + modulation.gate_mlp.unsqueeze(1) * block.ff_context(concept_norm)
    if concept.dtype == torch.float16:
        concept = concept.clip(-65504, 65504)
    return concept
