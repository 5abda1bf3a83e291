"""Qwen-Image in ComfyUI: text to picture, Edit, Layered and their fine-tunes; and Mage-Flow, made of the same blocks.

Phases follow `QwenImageTransformerBlock.forward` and its `Attention` in comfy/ldm/qwen_image/model.py (0.19 to 0.33).

Convention: text tokens come first, then the picture's tokens, row-major (in Layered layer by layer), then those of
reference pictures.
Source: arXiv:2502.04320, Sec. 4. Concepts take the place of a prompt's first token, which is turned by its number.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from comfy.ldm.flux.math import apply_rope1
from comfy.ldm.qwen_image.model import QwenImageTransformer2DModel, QwenImageTransformerBlock
from torch import Tensor, nn

from .... import attention
from ...architecture import AUTHORS_FLUX_LAYERS, Architecture, TokenSlices, last_read_layers
from . import adapter
from .block_call import BlockCall, ModuleCall, Rows
from .network import eager, network

SUPPORTED = ("Mage-Flow", "Qwen-Image")


def matches(model: Any) -> bool:
    """Known by the blocks, which Mage-Flow shares; packs that load quantised ones exchange them for their own."""
    first = next(iter(getattr(network(model), "transformer_blocks", ())), None)
    return isinstance(eager(first), QwenImageTransformerBlock)


def describe(model: Any) -> Architecture:
    qwen = network(model)
    count, block = len(qwen.transformer_blocks), qwen.transformer_blocks[0]
    return Architecture(
        name="qwen_image" if isinstance(qwen, QwenImageTransformer2DModel) else "mage_flow",
        joint_blocks=count,
        heads=block.num_attention_heads,
        head_dim=block.attention_head_dim,
        text_width=qwen.txt_in.in_features,
        patch=qwen.patch_size,
        default_layers=last_read_layers(count, AUTHORS_FLUX_LAYERS),
    )


def joint_blocks(qwen: Any) -> nn.ModuleList:
    return qwen.transformer_blocks


def token_slices(call: BlockCall, keys: int, tokens: int) -> TokenSlices:
    return TokenSlices.text_first(call.arguments["hidden_states"].shape[1], keys, tokens)


conditioning_modules = adapter.conditioning_modules
concept_modulation = adapter.concept_modulation


def project_concepts(qwen: Any, embeddings: Tensor, calls: Mapping[str, ModuleCall], rows: Rows) -> Tensor:
    """Text encoder embeddings (1, C, E) to block-0 concept tokens (1, C, D), the same in every row."""
    return qwen.txt_in(qwen.txt_norm(embeddings))


def attend_concepts(
    block: Any,
    concept: Tensor,
    vec: None,
    image_k: Tensor,
    image_v: Tensor,
    call: BlockCall,
    key_bias: Tensor | None = None,
) -> tuple[Tensor, Any]:
    """Of a `QwenImageTransformerBlock`; see `Adapter`."""
    temb = call.arguments["temb"]
    if call.arguments.get("timestep_zero_index") is not None:
        temb = temb.chunk(2, dim=0)[0]  # the other half is that of timestep 0, for reference pictures
    txt_mod1, txt_mod2 = block.txt_mod(temb[call.rows]).chunk(2, dim=-1)

    txt_modulated, txt_gate1 = block._modulate(block.txt_norm1(concept), txt_mod1)
    attn = block.attn
    concept_q, concept_k, concept_v = (
        project(txt_modulated).unflatten(-1, (attn.heads, -1)).transpose(1, 2)
        for project in (attn.add_q_proj, attn.add_k_proj, attn.add_v_proj)
    )
    concept_q, concept_k = attn.norm_added_q(concept_q), attn.norm_added_k(concept_k)

    text = slice(0, call.arguments["encoder_hidden_states"].shape[1])
    pe = call.rotations(call.arguments["image_rotary_emb"], 2, text)
    concept_q, concept_k = apply_rope1(concept_q, pe), apply_rope1(concept_k, pe)
    concept_out = attention.attend_concepts(concept_q, concept_k, concept_v, image_k, image_v, key_bias=key_bias)
    return concept_out, (txt_gate1, txt_mod2)


def update_concepts(block: Any, concept: Tensor, concept_out: Tensor, modulation: Any) -> Tensor:
    """The rest of the block's text path: projection, gate and MLP. (B, C, D) to (B, C, D)."""
    txt_gate1, txt_mod2 = modulation
    concept = concept + txt_gate1 * block.attn.to_add_out(concept_out)
    txt_modulated2, txt_gate2 = block._modulate(block.txt_norm2(concept), txt_mod2)
    return torch.addcmul(concept, txt_gate2, block.txt_mlp(txt_modulated2))
