"""OmniGen 2 in ComfyUI.

Phases follow `OmniGen2TransformerBlock.forward` and `Attention.forward` of comfy/ldm/omnigen/omnigen2.py (0.19 to
0.33), so the two can be diffed. There is one stream: concepts go through the weights that text and image tokens share.

Convention: text tokens come first, then those of reference pictures, last the picture's.
Source: arXiv:2502.04320, Sec. 4.1, carried over to one stream; the authors have no such model.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from comfy.ldm.omnigen.omnigen2 import OmniGen2Transformer2DModel, apply_rotary_emb
from torch import Tensor, nn

from .... import attention
from ...architecture import AUTHORS_FLUX_LAYERS, Architecture, TokenSlices, last_read_layers
from . import adapter
from .block_call import BlockCall, ModuleCall, Rows
from .network import network

SUPPORTED = ("OmniGen 2",)

TEMPLATE_TOKENS = 23  # of ComfyUI's template, before the words of a prompt


def matches(model: Any) -> bool:
    return isinstance(network(model), OmniGen2Transformer2DModel)


def describe(model: Any) -> Architecture:
    omnigen = network(model)
    count, attn = len(omnigen.layers), omnigen.layers[0].attn
    return Architecture(
        name="omnigen2",
        joint_blocks=count,
        heads=attn.heads,
        head_dim=attn.dim_head,
        text_width=omnigen.time_caption_embed.caption_embedder[1].in_features,
        patch=omnigen.patch_size,
        default_layers=last_read_layers(count, AUTHORS_FLUX_LAYERS),
        concept_position=TEMPLATE_TOKENS,
    )


def joint_blocks(omnigen: Any) -> nn.ModuleList:
    return omnigen.layers


def token_slices(call: BlockCall, keys: int, tokens: int) -> TokenSlices:
    text = _text(call)
    return TokenSlices(text, slice(text.stop, keys), slice(keys - tokens, keys))


def _text(call: BlockCall) -> slice:
    return slice(0, call.calls["text"].arguments[0].shape[1])


def conditioning_modules(omnigen: Any) -> Mapping[str, nn.Module]:
    """What the text alone goes through, which tells how long it is."""
    return {"text": omnigen.context_refiner[0]}


concept_modulation = adapter.concept_modulation


def project_concepts(omnigen: Any, embeddings: Tensor, calls: Mapping[str, ModuleCall], rows: Rows) -> Tensor:
    """Text encoder embeddings (1, C, E) to concept tokens (1, C, D), each refined alone, as a prompt of one token."""
    mask, rotary_emb = None, calls["text"].arguments[2][:1, :1]
    concept = omnigen.time_caption_embed.caption_embedder(embeddings).transpose(0, 1)
    for layer in omnigen.context_refiner:
        concept = layer(concept, mask, rotary_emb)
    return concept.transpose(0, 1)


def attend_concepts(
    block: Any,
    concept: Tensor,
    vec: None,
    image_k: Tensor,
    image_v: Tensor,
    call: BlockCall,
    key_bias: Tensor | None = None,
) -> tuple[Tensor, Any]:
    """Of an `OmniGen2TransformerBlock`; see `Adapter`."""
    concept_modulated, *modulation = block.norm1(concept, call.select(call.arguments["temb"]))

    attn = block.attn
    concept_q, concept_k, concept_v = (
        project(concept_modulated).unflatten(-1, (-1, attn.dim_head)) for project in (attn.to_q, attn.to_k, attn.to_v)
    )
    rotary_emb = call.rotations(call.arguments["image_rotary_emb"], 1, _text(call))
    concept_q = apply_rotary_emb(attn.norm_q(concept_q), rotary_emb)
    concept_k = apply_rotary_emb(attn.norm_k(concept_k), rotary_emb)
    concept_q, concept_k, concept_v = (part.transpose(1, 2) for part in (concept_q, concept_k, concept_v))
    concept_k, concept_v, image_k, image_v = (
        part.repeat_interleave(attn.heads // part.shape[1], dim=1) for part in (concept_k, concept_v, image_k, image_v)
    )
    concept_out = attention.attend_concepts(concept_q, concept_k, concept_v, image_k, image_v, key_bias=key_bias)
    return concept_out, modulation


def update_concepts(block: Any, concept: Tensor, concept_out: Tensor, modulation: Any) -> Tensor:
    """The rest of the layer: projection, gate and MLP. (B, C, D) to (B, C, D)."""
    gate_msa, scale_mlp, gate_mlp = modulation
    concept = concept + gate_msa.unsqueeze(1).tanh() * block.norm2(block.attn.to_out[0](concept_out))
    hidden = block.feed_forward(block.ffn_norm1(concept) * (1 + scale_mlp.unsqueeze(1)))
    return concept + gate_mlp.unsqueeze(1).tanh() * block.ffn_norm2(hidden)
