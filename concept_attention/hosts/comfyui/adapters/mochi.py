"""Mochi 1 in ComfyUI.

Phases follow `AsymmetricJointBlock.forward` and `AsymmetricAttention.forward` of
comfy/ldm/genmo/joint_model/asymm_models_joint.py (0.19 to 0.33), so the two can be diffed.

Convention: the video's tokens come first, frame by frame, row-major over 2x2 latent pixels, then those of the prompt's
text tokens that are no padding: fewer than the block's text stream has. Text tokens have no position, and are narrower
than the image's.
Source: arXiv:2502.04320, Sec. 4.
"""

from __future__ import annotations

from typing import Any

import torch.nn.functional as F
from comfy.ldm.genmo.joint_model.asymm_models_joint import (
    AsymmDiTJoint,
    modulated_rmsnorm,
    residual_tanh_gated_rmsnorm,
)
from torch import Tensor, nn

from ...architecture import AUTHORS_FLUX_LAYERS, Architecture, TokenSlices, last_read_layers
from .adapter import Adapter
from .block_call import BlockCall
from .network import network_of

FRAMES_PER_LATENT = 6  # of the only VAE there is


class Mochi(Adapter):
    supported = ("Mochi",)

    def matches(self, model: Any) -> bool:
        return isinstance(network_of(model), AsymmDiTJoint)

    def describe(self, model: Any) -> Architecture:
        network = network_of(model)
        count = len(network.blocks)
        return Architecture(
            name="mochi",
            layer_count=count,
            text_width=network.t5_feat_dim,
            patch=network.patch_size,
            default_layers=last_read_layers(count, AUTHORS_FLUX_LAYERS),
            frames_per_latent=FRAMES_PER_LATENT,
        )

    def joint_blocks(self, network: Any) -> nn.ModuleList:
        return network.blocks

    def token_slices(self, call: BlockCall, keys: int) -> TokenSlices:
        return TokenSlices.image_first(call.arguments["x"].shape[1], call.tokens)

    def project_concepts(self, network: Any, embeddings: Tensor, call: BlockCall) -> Tensor:
        return network.t5_yproj(embeddings)

    def concept_qkv(self, block: Any, concept: Tensor, call: BlockCall) -> tuple[Tensor, Tensor, Tensor, Any]:
        """The modulation is empty in the last block, which does not update its text."""
        modulation = block.mod_y(F.silu(call.select(call.arguments["c"])))
        scale, *rest = modulation.chunk(4, dim=1) if block.update_y else (modulation,)

        concept_qkv = block.attn.qkv_y(modulated_rmsnorm(concept, scale))
        concept_qkv = concept_qkv.unflatten(-1, (3, block.attn.num_heads, -1)).permute(2, 0, 3, 1, 4)
        concept_q, concept_k, concept_v = concept_qkv
        concept_q, concept_k = block.attn.q_norm_y(concept_q), block.attn.k_norm_y(concept_k)
        return concept_q, concept_k, concept_v, rest

    def update_concepts(self, block: Any, concept: Tensor, concept_out: Tensor, modulation: Any) -> Tensor:
        gate, mlp_scale, mlp_gate = modulation
        concept = residual_tanh_gated_rmsnorm(concept, block.attn.proj_y(concept_out), gate)
        return block.ff_block_y(concept, mlp_scale, mlp_gate)
