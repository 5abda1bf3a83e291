"""Ideogram 4 in ComfyUI.

Phases follow `Ideogram4TransformerBlock.forward` and `Ideogram4Attention.forward` of comfy/ldm/ideogram4/model.py
(0.33), so the two can be diffed. There is one stream: concepts go through the weights that text and image tokens share.

Convention: text tokens come first, then the picture's. Without a prompt there are the picture's alone.
Source: arXiv:2502.04320, Sec. 4.1, carried over to one stream; the authors have no such model.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from comfy.ldm.ideogram4.model import Ideogram4Transformer2DModel
from torch import Tensor, nn

from .... import attention
from ...architecture import AUTHORS_FLUX_LAYERS, Architecture, TokenSlices, last_read_layers
from . import adapter
from .block_call import BlockCall, ModuleCall, Rows
from .network import network

SUPPORTED = ("Ideogram 4",)

TEMPLATE_TOKENS = 3  # of ComfyUI's template, before the words of a prompt


def matches(model: Any) -> bool:
    return isinstance(network(model), Ideogram4Transformer2DModel)


def describe(model: Any) -> Architecture:
    ideogram = network(model)
    count, joint = len(ideogram.layers), ideogram.layers[0].attention
    return Architecture(
        name="ideogram4",
        joint_blocks=count,
        heads=joint.num_heads,
        head_dim=joint.head_dim,
        text_width=ideogram.llm_cond_proj.in_features,
        patch=1,  # the latent has a channel per cell of a token
        default_layers=last_read_layers(count, AUTHORS_FLUX_LAYERS),
        concept_position=TEMPLATE_TOKENS,
    )


def joint_blocks(ideogram: Any) -> nn.ModuleList:
    return ideogram.layers


def token_slices(call: BlockCall, keys: int, tokens: int) -> TokenSlices:
    image = slice(keys - tokens, keys)
    return TokenSlices(slice(0, image.start), image, image)


conditioning_modules = adapter.conditioning_modules
concept_modulation = adapter.concept_modulation


def project_concepts(ideogram: Any, embeddings: Tensor, calls: Mapping[str, ModuleCall], rows: Rows) -> Tensor:
    """Text encoder embeddings (1, C, E) to block-0 concept tokens, (1, C, D)."""
    concept = ideogram.llm_cond_proj(ideogram.llm_cond_norm(embeddings))
    not_image = torch.zeros(1, 1, dtype=torch.long, device=concept.device)
    return concept + ideogram.embed_image_indicator(not_image, out_dtype=concept.dtype)


def attend_concepts(
    block: Any,
    concept: Tensor,
    vec: None,
    image_k: Tensor,
    image_v: Tensor,
    call: BlockCall,
    key_bias: Tensor | None = None,
) -> tuple[Tensor, Any]:
    """Of an `Ideogram4TransformerBlock`; see `Adapter`."""
    mod = block.adaln_modulation(call.select(call.arguments["adaln_input"]))
    scale_msa, *modulation = mod.chunk(4, dim=-1)

    joint = block.attention
    concept_qkv = joint.qkv(block.attention_norm1(concept) * (1.0 + scale_msa))
    concept_q, concept_k, concept_v = concept_qkv.unflatten(-1, (3, joint.num_heads, -1)).unbind(dim=2)
    text = slice(0, call.arguments["x"].shape[1] - image_k.shape[2])
    freqs_cis = call.rotations(call.arguments["freqs_cis"], 1, text)
    concept_q, concept_k = (
        _rotate_halves(norm(part), freqs_cis) for norm, part in ((joint.norm_q, concept_q), (joint.norm_k, concept_k))
    )
    concept_q, concept_k, concept_v = (part.transpose(1, 2) for part in (concept_q, concept_k, concept_v))
    concept_out = attention.attend_concepts(concept_q, concept_k, concept_v, image_k, image_v, key_bias=key_bias)
    return concept_out, modulation


def _rotate_halves(x: Tensor, freqs_cis: Tensor) -> Tensor:
    """Rotate (B, C, heads, head_dim) by (B or 1, C or 1, 1, head_dim / 2, 2, 2); a pair is of both halves."""
    pairs = x.to(freqs_cis.dtype).unflatten(-1, (2, -1))
    turned = freqs_cis[..., 0] * pairs[..., :1, :].mT + freqs_cis[..., 1] * pairs[..., 1:, :].mT
    return turned.mT.flatten(-2).to(x.dtype)


def update_concepts(block: Any, concept: Tensor, concept_out: Tensor, modulation: Any) -> Tensor:
    """The rest of the layer: projection, gate and MLP. (B, C, D) to (B, C, D)."""
    gate_msa, scale_mlp, gate_mlp = modulation
    concept = concept + gate_msa.tanh() * block.attention_norm2(block.attention.o(concept_out))
    hidden = block.feed_forward(block.ffn_norm1(concept) * (1.0 + scale_mlp))
    return concept + gate_mlp.tanh() * block.ffn_norm2(hidden)
