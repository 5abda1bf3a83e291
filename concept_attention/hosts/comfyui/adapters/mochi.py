"""Mochi 1 in ComfyUI.

Phases follow `AsymmetricJointBlock.forward` and `AsymmetricAttention.forward` of
comfy/ldm/genmo/joint_model/asymm_models_joint.py (0.19 to 0.33), so the two can be diffed.

Convention: the video's tokens come first, frame by frame, row-major over 2x2 latent cells, then those of the prompt's
text tokens that are no padding: fewer than the block's text stream has. Text tokens have no position.
Source: arXiv:2502.04320, Sec. 4.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch.nn.functional as F
from comfy.ldm.genmo.joint_model.asymm_models_joint import (
    AsymmDiTJoint,
    modulated_rmsnorm,
    residual_tanh_gated_rmsnorm,
)
from torch import Tensor, nn

from .... import attention
from ...architecture import AUTHORS_FLUX_LAYERS, Architecture, TokenSlices, last_read_layers
from . import adapter
from .block_call import BlockCall, ModuleCall, Rows
from .network import network

SUPPORTED = ("Mochi",)

FRAMES_PER_LATENT = 6  # of the one VAE there is


def matches(model: Any) -> bool:
    return isinstance(network(model), AsymmDiTJoint)


def describe(model: Any) -> Architecture:
    mochi = network(model)
    count = len(mochi.blocks)
    return Architecture(
        name="mochi",
        joint_blocks=count,
        heads=mochi.num_heads,
        head_dim=mochi.hidden_size_x // mochi.num_heads,
        text_width=mochi.t5_feat_dim,
        patch=mochi.patch_size,
        default_layers=last_read_layers(count, AUTHORS_FLUX_LAYERS),
        frames_per_latent=FRAMES_PER_LATENT,
    )


def joint_blocks(mochi: Any) -> nn.ModuleList:
    return mochi.blocks


def token_slices(call: BlockCall, keys: int, tokens: int) -> TokenSlices:
    return TokenSlices.image_first(call.arguments["x"].shape[1], keys, tokens)


conditioning_modules = adapter.conditioning_modules
concept_modulation = adapter.concept_modulation


def project_concepts(mochi: Any, embeddings: Tensor, calls: Mapping[str, ModuleCall], rows: Rows) -> Tensor:
    """Text encoder embeddings (1, C, E) to block-0 concept tokens, (1, C, D)."""
    return mochi.t5_yproj(embeddings)


def attend_concepts(
    block: Any,
    concept: Tensor,
    vec: None,
    image_k: Tensor,
    image_v: Tensor,
    call: BlockCall,
    key_bias: Tensor | None = None,
) -> tuple[Tensor, Any]:
    """Of an `AsymmetricJointBlock`; see `Adapter`. Text tokens are narrower than the image's."""
    modulation = block.mod_y(F.silu(call.select(call.arguments["c"])))
    scale, *rest = modulation.chunk(4, dim=1) if block.update_y else (modulation,)

    concept_qkv = block.attn.qkv_y(modulated_rmsnorm(concept, scale))
    concept_q, concept_k, concept_v = concept_qkv.unflatten(-1, (3, block.attn.num_heads, -1)).permute(2, 0, 3, 1, 4)
    concept_q, concept_k = block.attn.q_norm_y(concept_q), block.attn.k_norm_y(concept_k)

    concept_out = attention.attend_concepts(concept_q, concept_k, concept_v, image_k, image_v, key_bias=key_bias)
    return concept_out, rest


def update_concepts(block: Any, concept: Tensor, concept_out: Tensor, rest: Any) -> Tensor:
    """The rest of the block's text path: projection, gate and MLP. (B, C, D) to (B, C, D); the last block has none."""
    gate, mlp_scale, mlp_gate = rest
    concept = residual_tanh_gated_rmsnorm(concept, block.attn.proj_y(concept_out), gate)
    return block.ff_block_y(concept, mlp_scale, mlp_gate)
