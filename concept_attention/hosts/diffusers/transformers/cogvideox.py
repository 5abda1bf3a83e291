"""CogVideoX in diffusers: 2B, 5B and 1.5.

Phases follow `CogVideoXBlock.forward` of diffusers/models/transformers/cogvideox_transformer_3d.py and
`CogVideoXAttnProcessor2_0.__call__` (0.42), so they can be diffed. Text and image tokens share the weights of a block;
only their modulation differs.

Convention: text tokens come first, then the video's, frame by frame, row-major over 2x2 latent cells; in 1.5 a token
covers two latent frames. Text tokens have no position.
Source: arXiv:2502.04320, Sec. 4; the layers are those of the authors' example, of whose 226 tokens those beside the
concepts are zero embeddings (`scores.MODES`).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from diffusers import CogVideoXTransformer3DModel
from diffusers.models.attention_processor import FusedCogVideoXAttnProcessor2_0
from torch import Tensor, nn

from .... import attention
from ...architecture import AUTHORS_COGVIDEOX_LAYERS, Architecture, TokenSlices, first_layers
from .hook_points import HookPoints
from .rotary import rotate


class Modulation(NamedTuple):
    """What the rest of a block needs."""

    temb: Tensor  # time embedding, (B, E)
    gate: Tensor  # of the attention, (B, 1, D)


def matches(transformer: nn.Module) -> bool:
    return isinstance(transformer, CogVideoXTransformer3DModel)


def describe(transformer: Any) -> Architecture:
    config = transformer.config
    count = len(transformer.transformer_blocks)
    return Architecture(
        name="cogvideox",
        joint_blocks=count,
        text_width=config.text_embed_dim,
        patch=config.patch_size,
        default_layers=first_layers(count, AUTHORS_COGVIDEOX_LAYERS),
        frame_patch=config.patch_size_t or 1,
        frames_per_latent=config.temporal_compression_ratio,
    )


def token_slices(block_arguments: Mapping[str, Any]) -> TokenSlices:
    text = block_arguments["encoder_hidden_states"].shape[1]
    return TokenSlices(image=slice(text, None))


def hook_points(block: Any) -> HookPoints:
    attn, fused = block.attn1, _fused(block)
    key = attn.norm_k if attn.norm_k is not None else attn.to_qkv if fused else attn.to_k
    return HookPoints(key, attn.to_qkv if fused else attn.to_v, attn.to_out[0], joined=True)


def image_keys(block: Any, passed: Tensor, block_arguments: Mapping[str, Any]) -> Tensor:
    """What `hook_points` delivers, of text and image, as the image's keys, rotated, (B, heads, N, head_dim).

    They are rotated here and now: the block is about to rotate what it passed in place.
    """
    if block.attn1.norm_k is None:
        passed = _by_heads(block, passed.chunk(3, dim=-1)[1] if _fused(block) else passed)
    image_k = passed[:, :, token_slices(block_arguments).image]
    rotation = block_arguments.get("image_rotary_emb")
    return image_k if rotation is None else rotate(image_k.transpose(1, 2), *rotation).transpose(1, 2)


def image_values(block: Any, passed: Tensor, block_arguments: Mapping[str, Any]) -> Tensor:
    """What `hook_points` delivers, of text and image, as the image's values, (B, heads, N, head_dim)."""
    image_v = passed[:, token_slices(block_arguments).image]
    return _by_heads(block, image_v.chunk(3, dim=-1)[2] if _fused(block) else image_v)


def conditioning_module(transformer: Any) -> None:
    """None: every block is told the time embedding itself."""


def concept_conditioning(transformer: Any, arguments: tuple[Any, ...]) -> None:
    """Never asked for."""


def project_concepts(transformer: Any, embeddings: Tensor) -> Tensor:
    """Text encoder embeddings (B, C, E) to block-0 concept tokens (B, C, D); positions are the image's alone."""
    return transformer.patch_embed.text_proj(embeddings)


def attend_concepts(
    block: Any,
    concept: Tensor,
    vec: None,
    image_k: Tensor,
    image_v: Tensor,
    block_arguments: Mapping[str, Any],
    key_bias: Tensor | None = None,
) -> tuple[Tensor, Modulation]:
    """One joint block's attention for the concept tokens.

    Args:
        block: a CogVideoXBlock.
        concept: concept tokens, (B, C, D).
        vec: None.
        image_k, image_v: keys, normalised and rotated, and values of the image tokens, (B, heads, N, head_dim).
        block_arguments: the arguments the block itself was called with; the last B rows are the concepts'.
        key_bias: added to the concept keys' logits, (C,).

    Returns:
        The attention output before the projection, (B, C, heads * head_dim), and what the rest of the block needs.
    """
    attn, temb = block.attn1, block_arguments["temb"][-len(concept) :]
    concept_norm, gate = _modulate(block.norm1, concept, temb)

    parts = attn.to_qkv(concept_norm).chunk(3, dim=-1) if _fused(block) else _project(attn, concept_norm)
    concept_q, concept_k, concept_v = (_by_heads(block, part) for part in parts)
    if attn.norm_k is not None:
        concept_q, concept_k = attn.norm_q(concept_q), attn.norm_k(concept_k)

    concept_out = attention.attend_concepts(concept_q, concept_k, concept_v, image_k, image_v, key_bias=key_bias)
    return concept_out, Modulation(temb, gate)


def update_concepts(block: Any, concept: Tensor, concept_out: Tensor, modulation: Modulation) -> Tensor:
    """The rest of the block's text path: projection, gate and MLP. (B, C, D) to (B, C, D)."""
    concept = concept + modulation.gate * block.attn1.to_out[0](concept_out)
    concept_norm, gate = _modulate(block.norm2, concept, modulation.temb)
    return concept + gate * block.ff(concept_norm)


def _modulate(norm: Any, concept: Tensor, temb: Tensor) -> tuple[Tensor, Tensor]:
    """Concepts normalised and modulated as text, and their gate; the module wants image tokens as well: none."""
    _, modulated, _, gate = norm(concept[:, :0], concept, temb)
    return modulated, gate


def _project(attn: Any, tokens: Tensor) -> tuple[Tensor, ...]:
    return attn.to_q(tokens), attn.to_k(tokens), attn.to_v(tokens)


def _by_heads(block: Any, tokens: Tensor) -> Tensor:
    """(B, tokens, D) to (B, heads, tokens, head_dim)."""
    return tokens.unflatten(-1, (block.attn1.heads, -1)).transpose(1, 2)


def _fused(block: Any) -> bool:
    """Whether q, k and v are made at once; the block remembers having been fused after it no longer is."""
    return isinstance(block.attn1.processor, FusedCogVideoXAttnProcessor2_0)
