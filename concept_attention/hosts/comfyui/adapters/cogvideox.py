"""CogVideoX in ComfyUI: 2B, 5B and 1.5, from text or an image, and their inpainting fine-tunes.

Phases follow `CogVideoXBlock.forward` of comfy/ldm/cogvideo/model.py (0.33), so the two can be diffed. Text and image
tokens share the weights of a block; only their modulation differs.

Convention: text tokens come first, then the video's, frame by frame, row-major over 2x2 latent pixels; in 1.5 a token
covers two latent frames, of which the last may be missing. Text tokens have no position.
Source: arXiv:2502.04320, Sec. 4; the layers are those of the authors' example, of whose 226 tokens those beside the
concepts are zero embeddings (`scores.MODES`).
"""

from __future__ import annotations

from typing import Any

import torch.nn.functional as F
from comfy.ldm.cogvideo.model import CogVideoXTransformer3DModel
from torch import Tensor, nn

from ...architecture import (
    AUTHORS_COGVIDEOX_LAYERS,
    AUTHORS_COGVIDEOX_TOKENS,
    Architecture,
    TokenSlices,
    first_layers,
)
from .adapter import Adapter
from .block_call import BlockCall
from .network import network_of


class CogVideoX(Adapter):
    supported = ("CogVideoX",)

    def matches(self, model: Any) -> bool:
        return isinstance(network_of(model), CogVideoXTransformer3DModel)

    def describe(self, model: Any) -> Architecture:
        network = network_of(model)
        count = len(network.blocks)
        return Architecture(
            name="cogvideox",
            layer_count=count,
            text_width=network.patch_embed.text_proj.in_features,
            patch=network.patch_size,
            default_layers=first_layers(count, AUTHORS_COGVIDEOX_LAYERS),
            frame_patch=network.patch_size_t or 1,
            frames_per_latent=network.temporal_compression_ratio,
            padded_tokens=AUTHORS_COGVIDEOX_TOKENS,
        )

    def joint_blocks(self, network: Any) -> nn.ModuleList:
        return network.blocks

    def token_slices(self, call: BlockCall, keys: int) -> TokenSlices:
        return TokenSlices.text_first(call.arguments["hidden_states"].shape[1], keys, call.tokens)

    def project_concepts(self, network: Any, embeddings: Tensor, call: BlockCall) -> Tensor:
        text_proj = network.patch_embed.text_proj
        return text_proj(embeddings.to(text_proj.weight.dtype)).to(embeddings.dtype)  # the host keeps it in float32

    def concept_qkv(self, block: Any, concept: Tensor, call: BlockCall) -> tuple[Tensor, Tensor, Tensor, Any]:
        temb = call.select(call.arguments["temb"])
        concept_modulated, concept_gate = _modulate(block.norm1, concept, temb)

        by_heads = (block.num_heads, block.head_dim)
        concept_q = block.norm_q(block.q(concept_modulated).unflatten(-1, by_heads)).transpose(1, 2)
        concept_k = block.norm_k(block.k(concept_modulated).unflatten(-1, by_heads)).transpose(1, 2)
        concept_v = block.v(concept_modulated).unflatten(-1, by_heads).transpose(1, 2)
        return concept_q, concept_k, concept_v, (temb, concept_gate)

    def update_concepts(self, block: Any, concept: Tensor, concept_out: Tensor, modulation: Any) -> Tensor:
        temb, concept_gate = modulation
        concept = concept + concept_gate * block.attn_out(concept_out)
        concept_modulated, concept_gate = _modulate(block.norm2, concept, temb)
        return concept + concept_gate * block.ff_out(F.gelu(block.ff_proj(concept_modulated), approximate="tanh"))


def _modulate(norm: Any, concept: Tensor, temb: Tensor) -> tuple[Tensor, Tensor]:
    """Concepts normalised and modulated as text, and their gate; the module also takes image tokens: none here."""
    _, modulated, _, gate = norm(concept[:, :0], concept, temb)
    return modulated, gate
