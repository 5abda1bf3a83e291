"""Boogu-Image in ComfyUI: its double-stream layers, which come before those that text and picture share.

Phases follow `BooguDoubleStreamBlock.forward` and `BooguDoubleStreamProcessor` in comfy/ldm/boogu/model.py (0.33).

Convention: text ("instruct") tokens come first, then those of reference pictures, then the picture's, row-major.
Source: arXiv:2502.04320, Sec. 4. Concepts take the place of a one-word prompt, behind the text encoder's template, and
go through the refiner of the text alone.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from comfy.ldm.boogu.model import BooguTransformer2DModel
from comfy.ldm.flux.math import apply_rope1
from torch import Tensor, nn

from .... import attention
from ...architecture import AUTHORS_FLUX_LAYERS, Architecture, TokenSlices, last_layers
from . import adapter
from .block_call import BlockCall, ModuleCall, Rows
from .network import network

SUPPORTED = ("Boogu",)

TEMPLATE_TOKENS = 29  # of the chat template with the system prompt, before the user's first word


def matches(model: Any) -> bool:
    return isinstance(network(model), BooguTransformer2DModel)


def describe(model: Any) -> Architecture:
    boogu = network(model)
    count, attn = len(boogu.double_stream_layers), boogu.double_stream_layers[0].img_instruct_attn
    return Architecture(
        name="boogu",
        joint_blocks=count,
        heads=attn.heads,
        head_dim=attn.dim_head,
        text_width=boogu.time_caption_embed.caption_embedder[1].in_features,
        patch=boogu.patch_size,
        default_layers=last_layers(count, AUTHORS_FLUX_LAYERS),
        concept_position=TEMPLATE_TOKENS,
    )


def joint_blocks(boogu: Any) -> nn.ModuleList:
    return boogu.double_stream_layers


def token_slices(call: BlockCall, keys: int, tokens: int) -> TokenSlices:
    start = keys - call.arguments["img_hidden_states"].shape[1]
    return TokenSlices(text=slice(0, start), image=slice(start, keys), picture=slice(keys - tokens, keys))


conditioning_modules = adapter.conditioning_modules
concept_modulation = adapter.concept_modulation


def project_concepts(boogu: Any, embeddings: Tensor, calls: Mapping[str, ModuleCall], rows: Rows) -> Tensor:
    """Text encoder embeddings (1, C, E) to block-0 concept tokens (1, C, D), the same in every row.

    The refiner attends from token to token: to it each concept is a prompt of one token, whose place means nothing.
    """
    alone = boogu.time_caption_embed.caption_embedder(embeddings).transpose(0, 1)
    for layer in boogu.context_refiner:
        alone = layer(alone, None, None)
    return alone.transpose(0, 1)


def attend_concepts(
    block: Any,
    concept: Tensor,
    vec: None,
    image_k: Tensor,
    image_v: Tensor,
    call: BlockCall,
    key_bias: Tensor | None = None,
) -> tuple[Tensor, Any]:
    """Of a `BooguDoubleStreamBlock`; see `Adapter`."""
    temb = call.arguments["temb"][call.rows]
    instruct_norm1, gate_msa, scale_mlp, gate_mlp = block.instruct_norm1(concept, temb)
    instruct_norm2, shift_mlp, _, _ = block.instruct_norm2(concept, temb)
    mlp_input = (1 + scale_mlp.unsqueeze(1)) * instruct_norm2 + shift_mlp.unsqueeze(1)

    attn, processor = block.img_instruct_attn, block.img_instruct_attn.processor
    concept_q, concept_k, concept_v = (
        project(instruct_norm1).unflatten(-1, (-1, attn.dim_head))
        for project in (processor.instruct_to_q, processor.instruct_to_k, processor.instruct_to_v)
    )
    concept_q, concept_k = attn.norm_q(concept_q), attn.norm_k(concept_k)

    text = slice(0, call.arguments["instruct_hidden_states"].shape[1])
    pe = call.rotations(call.arguments["joint_rotary_emb"], 1, text)
    concept_q, concept_k = apply_rope1(concept_q, pe), apply_rope1(concept_k, pe)

    concept_q, concept_k, concept_v = (part.transpose(1, 2) for part in (concept_q, concept_k, concept_v))
    shared = attn.heads // attn.kv_heads  # query heads that have a key and value head in common
    keys_and_values = (part.repeat_interleave(shared, dim=1) for part in (concept_k, concept_v, image_k, image_v))
    concept_out = attention.attend_concepts(concept_q, *keys_and_values, key_bias=key_bias)
    return concept_out, (gate_msa.unsqueeze(1).tanh(), mlp_input, gate_mlp.unsqueeze(1).tanh())


def update_concepts(block: Any, concept: Tensor, concept_out: Tensor, modulation: Any) -> Tensor:
    """The rest of the block's text path: projections, gate and MLP. (B, C, D) to (B, C, D)."""
    gate_msa, mlp_input, gate_mlp = modulation
    attn = block.img_instruct_attn
    instruct_attn_out = attn.to_out[0](attn.processor.instruct_out(concept_out))
    concept = concept + gate_msa * block.instruct_attn_norm(instruct_attn_out)
    # The MLP's input is made of the tokens as they were before the attention.
    instruct_mlp_out = block.instruct_feed_forward(block.instruct_ffn_norm1(mlp_input))
    return concept + gate_mlp * block.instruct_ffn_norm2(instruct_mlp_out)
