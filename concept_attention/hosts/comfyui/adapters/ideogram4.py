"""Ideogram 4 in ComfyUI.

Phases follow `Ideogram4TransformerBlock.forward` and `Ideogram4Attention.forward` of comfy/ldm/ideogram4/model.py
(0.33), so the two can be diffed. There is one stream: concepts go through the weights that text and image tokens share.

Convention: text tokens come first, then the image's. Without a prompt there are the image's alone.
Source: arXiv:2502.04320, Sec. 4.1, carried over to one stream; the authors have no such model.
"""

from __future__ import annotations

from typing import Any

import torch
from comfy.ldm.ideogram4.model import Ideogram4Transformer2DModel
from torch import Tensor, nn

from ...architecture import AUTHORS_FLUX_LAYERS, Architecture, TokenSlices, last_read_layers
from .adapter import Adapter
from .block_call import BlockCall
from .network import network_of

TEMPLATE_TOKENS = 3  # of ComfyUI's template, before the words of a prompt


class Ideogram4(Adapter):
    supported = ("Ideogram 4",)

    def matches(self, model: Any) -> bool:
        return isinstance(network_of(model), Ideogram4Transformer2DModel)

    def describe(self, model: Any) -> Architecture:
        network = network_of(model)
        count = len(network.layers)
        return Architecture(
            name="ideogram4",
            layer_count=count,
            text_width=network.llm_cond_proj.in_features,
            patch=1,  # a latent pixel has all channels of a token
            default_layers=last_read_layers(count, AUTHORS_FLUX_LAYERS),
            concept_position=TEMPLATE_TOKENS,
        )

    def joint_blocks(self, network: Any) -> nn.ModuleList:
        return network.layers

    def token_slices(self, call: BlockCall, keys: int) -> TokenSlices:
        return TokenSlices(slice(keys - call.tokens, keys))

    def project_concepts(self, network: Any, embeddings: Tensor, call: BlockCall) -> Tensor:
        concept = network.llm_cond_proj(network.llm_cond_norm(embeddings))
        not_image = torch.zeros(1, 1, dtype=torch.long, device=concept.device)
        return concept + network.embed_image_indicator(not_image, out_dtype=concept.dtype)

    def concept_qkv(self, block: Any, concept: Tensor, call: BlockCall) -> tuple[Tensor, Tensor, Tensor, Any]:
        mod = block.adaln_modulation(call.select(call.arguments["adaln_input"]))
        scale_msa, *modulation = mod.chunk(4, dim=-1)

        joint = block.attention
        concept_qkv = joint.qkv(block.attention_norm1(concept) * (1.0 + scale_msa))
        concept_q, concept_k, concept_v = concept_qkv.unflatten(-1, (3, joint.num_heads, -1)).unbind(dim=2)
        text = slice(0, call.arguments["x"].shape[1] - call.tokens)
        freqs_cis = call.rotations(call.arguments["freqs_cis"], 1, text)
        concept_q = _rotate_halves(joint.norm_q(concept_q), freqs_cis)
        concept_k = _rotate_halves(joint.norm_k(concept_k), freqs_cis)
        concept_q, concept_k, concept_v = (part.transpose(1, 2) for part in (concept_q, concept_k, concept_v))
        return concept_q, concept_k, concept_v, modulation

    def update_concepts(self, block: Any, concept: Tensor, concept_out: Tensor, modulation: Any) -> Tensor:
        gate_msa, scale_mlp, gate_mlp = modulation
        concept = concept + gate_msa.tanh() * block.attention_norm2(block.attention.o(concept_out))
        hidden = block.feed_forward(block.ffn_norm1(concept) * (1.0 + scale_mlp))
        return concept + gate_mlp.tanh() * block.ffn_norm2(hidden)


def _rotate_halves(x: Tensor, freqs_cis: Tensor) -> Tensor:
    """Rotate (B, C, heads, head_dim) by (B or 1, C or 1, 1, head_dim / 2, 2, 2); a pair is one feature of each half."""
    pairs = x.to(freqs_cis.dtype).unflatten(-1, (2, -1))
    turned = freqs_cis[..., 0] * pairs[..., :1, :].mT + freqs_cis[..., 1] * pairs[..., 1:, :].mT
    return turned.mT.flatten(-2).to(x.dtype)
