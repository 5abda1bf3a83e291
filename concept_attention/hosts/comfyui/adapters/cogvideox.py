"""CogVideoX in ComfyUI: 2B, 5B and 1.5, from text or a picture, and their inpainting fine-tunes.

Phases follow `CogVideoXBlock.forward` of comfy/ldm/cogvideo/model.py (0.33), so the two can be diffed. Text and image
tokens share the weights of a block; only their modulation differs.

Convention: text tokens come first, then the video's, frame by frame, row-major over 2x2 latent cells; in 1.5 a token
covers two latent frames, of which the last may be missing. Text tokens have no position.
Source: arXiv:2502.04320, Sec. 4; the layers are those of the authors' example, of whose 226 tokens those beside the
concepts are zero embeddings (`scores.MODES`).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch.nn.functional as F
from comfy.ldm.cogvideo.model import CogVideoXTransformer3DModel
from torch import Tensor, nn

from .... import attention
from ...architecture import AUTHORS_COGVIDEOX_LAYERS, Architecture, TokenSlices, first_layers
from . import adapter
from .block_call import BlockCall, ModuleCall, Rows
from .network import network

SUPPORTED = ("CogVideoX",)


def matches(model: Any) -> bool:
    return isinstance(network(model), CogVideoXTransformer3DModel)


def describe(model: Any) -> Architecture:
    cogvideox = network(model)
    count = len(cogvideox.blocks)
    return Architecture(
        name="cogvideox",
        joint_blocks=count,
        heads=cogvideox.num_attention_heads,
        head_dim=cogvideox.dim // cogvideox.num_attention_heads,
        text_width=cogvideox.patch_embed.text_proj.in_features,
        patch=cogvideox.patch_size,
        default_layers=first_layers(count, AUTHORS_COGVIDEOX_LAYERS),
        frame_patch=cogvideox.patch_size_t or 1,
        frames_per_latent=cogvideox.temporal_compression_ratio,
    )


def joint_blocks(cogvideox: Any) -> nn.ModuleList:
    return cogvideox.blocks


def token_slices(call: BlockCall, keys: int, tokens: int) -> TokenSlices:
    return TokenSlices.text_first(call.arguments["hidden_states"].shape[1], keys, tokens)


conditioning_modules = adapter.conditioning_modules
concept_modulation = adapter.concept_modulation


def project_concepts(cogvideox: Any, embeddings: Tensor, calls: Mapping[str, ModuleCall], rows: Rows) -> Tensor:
    """Text encoder embeddings (1, C, E) to block-0 concept tokens, (1, C, D); positions are the image's alone."""
    text_proj = cogvideox.patch_embed.text_proj
    return text_proj(embeddings.to(text_proj.weight.dtype)).to(embeddings.dtype)  # the host keeps it in float32


def attend_concepts(
    block: Any,
    concept: Tensor,
    vec: None,
    image_k: Tensor,
    image_v: Tensor,
    call: BlockCall,
    key_bias: Tensor | None = None,
) -> tuple[Tensor, Any]:
    """Of a `CogVideoXBlock`; see `Adapter`. The rest is the time embedding (B, E) and the gate (B, 1, D)."""
    temb = call.select(call.arguments["temb"])
    concept_modulated, concept_gate = _modulate(block.norm1, concept, temb)

    by_heads = (block.num_heads, block.head_dim)
    concept_q = block.norm_q(block.q(concept_modulated).unflatten(-1, by_heads)).transpose(1, 2)
    concept_k = block.norm_k(block.k(concept_modulated).unflatten(-1, by_heads)).transpose(1, 2)
    concept_v = block.v(concept_modulated).unflatten(-1, by_heads).transpose(1, 2)

    concept_out = attention.attend_concepts(concept_q, concept_k, concept_v, image_k, image_v, key_bias=key_bias)
    return concept_out, (temb, concept_gate)


def update_concepts(block: Any, concept: Tensor, concept_out: Tensor, rest: Any) -> Tensor:
    """The rest of the block's text path: projection, gate and MLP. (B, C, D) to (B, C, D)."""
    temb, concept_gate = rest
    concept = concept + concept_gate * block.attn_out(concept_out)
    concept_modulated, concept_gate = _modulate(block.norm2, concept, temb)
    return concept + concept_gate * block.ff_out(F.gelu(block.ff_proj(concept_modulated), approximate="tanh"))


def _modulate(norm: Any, concept: Tensor, temb: Tensor) -> tuple[Tensor, Tensor]:
    """Concepts normalised and modulated as text, and their gate; the module wants image tokens as well: none."""
    _, modulated, _, gate = norm(concept[:, :0], concept, temb)
    return modulated, gate
