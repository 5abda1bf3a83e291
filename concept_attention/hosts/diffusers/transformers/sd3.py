"""Stable Diffusion 3 and 3.5 in diffusers: medium, large, large turbo and their fine-tunes.

Phases follow `JointTransformerBlock.forward` and `JointAttnProcessor2_0.__call__` of diffusers/models/attention.py and
attention_processor.py (0.42), so they can be diffed. The last block's text path ends with its attention. In 3.5 medium
some blocks have a second attention, of the image alone.

Convention: image tokens come first, row-major over 2x2 latent patches, then text tokens. Text has no positions.
Source: the authors' SD3 code, whose concepts have the prompt's modulation. There the image tokens that are scored look
at the concepts in place of the prompt; here, as in arXiv:2502.04320, Sec. 4, at the prompt.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from diffusers import SD3Transformer2DModel
from diffusers.models.attention_processor import FusedJointAttnProcessor2_0
from torch import Tensor, nn

from .... import attention
from ...architecture import Architecture, TokenSlices
from .flux import Modulation
from .hook_points import HookPoints


def matches(transformer: nn.Module) -> bool:
    return isinstance(transformer, SD3Transformer2DModel)


def describe(transformer: Any) -> Architecture:
    """All layers are the default: so it is in the authors' code."""
    config = transformer.config
    count = len(transformer.transformer_blocks)
    return Architecture(
        name="sd3",
        joint_blocks=count,
        text_width=config.joint_attention_dim,
        patch=config.patch_size,
        default_layers=tuple(range(count)),
    )


def token_slices(block_arguments: Mapping[str, Any]) -> TokenSlices:
    image = block_arguments["hidden_states"].shape[1]
    return TokenSlices(image=slice(0, image))


def hook_points(block: Any) -> HookPoints:
    attn = block.attn
    if _fused(block):
        return HookPoints(attn.to_qkv, attn.to_qkv, attn.to_out[0])
    return HookPoints(attn.to_k if attn.norm_k is None else attn.norm_k, attn.to_v, attn.to_out[0])


def image_keys(block: Any, passed: Tensor, block_arguments: Mapping[str, Any]) -> Tensor:
    """What `hook_points` delivers as keys that are ready, (B, heads, N, head_dim).

    They are so already where there is a norm (3.5), else (B, N, D) (3), or between q and v where all are fused.
    """
    if _fused(block):
        return _by_heads(block, passed.chunk(3, dim=-1)[1])
    return _by_heads(block, passed) if block.attn.norm_k is None else passed


def image_values(block: Any, passed: Tensor, block_arguments: Mapping[str, Any]) -> Tensor:
    """What `hook_points` delivers, (B, N, D), or with q and k before it, as values, (B, heads, N, head_dim)."""
    if _fused(block):
        passed = passed.chunk(3, dim=-1)[2]
    return _by_heads(block, passed)


def conditioning_module(transformer: Any) -> None:
    """None: every block is told the modulation vector, of timestep and pooled prompt."""


def concept_conditioning(transformer: Any, arguments: tuple[Any, ...]) -> None:
    """Never asked for."""


def project_concepts(transformer: Any, embeddings: Tensor) -> Tensor:
    """Text encoder embeddings (B, C, E) to block-0 concept tokens (B, C, D)."""
    return transformer.context_embedder(embeddings)


def attend_concepts(
    block: Any,
    concept: Tensor,
    vec: None,
    image_k: Tensor,
    image_v: Tensor,
    block_arguments: Mapping[str, Any],
    key_bias: Tensor | None = None,
) -> tuple[Tensor, Modulation | None]:
    """One joint block's attention for the concept tokens.

    Args:
        block: a JointTransformerBlock.
        concept: concept tokens, (B, C, D).
        vec: None.
        image_k, image_v: keys, normalised, and values of the image tokens, (B, heads, N, head_dim).
        block_arguments: the arguments the block itself was called with; the last B rows are the concepts'.
        key_bias: added to the concept keys' logits, (C,).

    Returns:
        The attention output before the projection, (B, C, heads * head_dim), and the rest of the modulation; None in
        the last block, which has none.
    """
    attn, temb = block.attn, block_arguments["temb"][-len(concept) :]
    modulation = None
    if block.context_pre_only:
        concept_norm = block.norm1_context(concept, temb)
    else:
        concept_norm, *rest = block.norm1_context(concept, emb=temb)
        modulation = Modulation(*rest)

    fused = _fused(block)
    if fused:
        parts = attn.to_added_qkv(concept_norm).chunk(3, dim=-1)
    else:
        parts = attn.add_q_proj(concept_norm), attn.add_k_proj(concept_norm), attn.add_v_proj(concept_norm)
    concept_q, concept_k, concept_v = (_by_heads(block, part) for part in parts)
    if attn.norm_added_k is not None and not fused:  # the model's own fused processor has no norms
        concept_q, concept_k = attn.norm_added_q(concept_q), attn.norm_added_k(concept_k)

    concept_out = attention.attend_concepts(concept_q, concept_k, concept_v, image_k, image_v, key_bias=key_bias)
    return concept_out, modulation


def update_concepts(block: Any, concept: Tensor, concept_out: Tensor, modulation: Modulation) -> Tensor:
    """The rest of the block's text path: projection, gate and MLP. (B, C, D) to (B, C, D)."""
    concept = concept + modulation.gate_attn.unsqueeze(1) * block.attn.to_add_out(concept_out)
    concept_norm = block.norm2_context(concept)
    concept_norm = concept_norm * (1 + modulation.scale_mlp[:, None]) + modulation.shift_mlp[:, None]
    return concept + modulation.gate_mlp.unsqueeze(1) * block.ff_context(concept_norm)


def _by_heads(block: Any, tokens: Tensor) -> Tensor:
    """(B, tokens, D) to (B, heads, tokens, head_dim)."""
    return tokens.unflatten(-1, (block.attn.heads, -1)).transpose(1, 2)


def _fused(block: Any) -> bool:
    """Whether q, k and v are made at once; the block remembers having been fused after it no longer is."""
    return isinstance(block.attn.processor, FusedJointAttnProcessor2_0)
