"""PixelDiT in ComfyUI, which works on pixels: its patch blocks; and PiD, the decoder made of it.

Phases follow `MMDiTBlockT2I.forward` and `MMDiTJointAttention` in comfy/ldm/pixeldit/model.py (0.33).

Convention: text tokens come first, then the picture's, row-major over patches of 16 by 16 pixels.
Source: arXiv:2502.04320, Sec. 4. Concepts take the place of a prompt's first word, in the learned embedding of places
and in the rotation.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from comfy.ldm.flux.math import apply_rope
from comfy.ldm.pixeldit.model import PixDiT_T2I
from comfy.ldm.pixeldit.modules import apply_adaln_
from torch import Tensor, nn

from .... import attention
from ...architecture import AUTHORS_FLUX_LAYERS, Architecture, TokenSlices, last_read_layers
from . import adapter
from .block_call import BlockCall, ModuleCall, Rows
from .network import network

SUPPORTED = ("PiD", "PixelDiT")

FIRST_WORD = 1  # its place: kept of the text are its first token and the last 299, which begin with that word


def matches(model: Any) -> bool:
    return isinstance(network(model), PixDiT_T2I)


def describe(model: Any) -> Architecture:
    pixeldit = network(model)
    count = len(pixeldit.patch_blocks)
    return Architecture(
        name="pixeldit",
        joint_blocks=count,
        heads=pixeldit.num_groups,
        head_dim=pixeldit.hidden_size // pixeldit.num_groups,
        text_width=pixeldit.txt_embed_dim,
        patch=pixeldit.patch_size,
        default_layers=last_read_layers(count, AUTHORS_FLUX_LAYERS),
        concept_position=FIRST_WORD,
    )


def joint_blocks(pixeldit: Any) -> nn.ModuleList:
    return pixeldit.patch_blocks


def token_slices(call: BlockCall, keys: int, tokens: int) -> TokenSlices:
    return TokenSlices.text_first(call.arguments["x"].shape[1], keys, tokens)


conditioning_modules = adapter.conditioning_modules
concept_modulation = adapter.concept_modulation


def project_concepts(pixeldit: Any, embeddings: Tensor, calls: Mapping[str, ModuleCall], rows: Rows) -> Tensor:
    """Text encoder embeddings (1, C, E) to block-0 concept tokens (1, C, D), the same in every row."""
    place = pixeldit.y_pos_embedding[:, FIRST_WORD : FIRST_WORD + 1]
    concept = pixeldit.y_embedder(embeddings)
    return concept + place.to(concept)


def attend_concepts(
    block: Any,
    concept: Tensor,
    vec: None,
    image_k: Tensor,
    image_v: Tensor,
    call: BlockCall,
    key_bias: Tensor | None = None,
) -> tuple[Tensor, Any]:
    """Of an `MMDiTBlockT2I`; see `Adapter`."""
    shift_msa_y, scale_msa_y, *rest = block.adaLN_modulation_txt(call.arguments["c"][call.rows]).chunk(6, dim=-1)

    y_norm = apply_adaln_(block.norm_y1(concept), shift_msa_y, scale_msa_y)
    attn = block.attn
    qkv_y = attn.qkv_y(y_norm).unflatten(-1, (3, attn.num_heads, attn.head_dim)).permute(2, 0, 3, 1, 4)
    concept_q, concept_k, concept_v = qkv_y.unbind(0)
    concept_q, concept_k = attn.q_norm_y(concept_q), attn.k_norm_y(concept_k)

    pos_txt = call.arguments.get("pos_txt")
    if pos_txt is not None:
        pe = call.rotations(pos_txt[None, None], 2, slice(0, len(pos_txt)))
        concept_q, concept_k = apply_rope(concept_q, concept_k, pe)
    concept_out = attention.attend_concepts(concept_q, concept_k, concept_v, image_k, image_v, key_bias=key_bias)
    return concept_out, rest


def update_concepts(block: Any, concept: Tensor, concept_out: Tensor, modulation: Any) -> Tensor:
    """The rest of the block's text path: projection, gate and MLP. (B, C, D) to (B, C, D)."""
    gate_msa_y, shift_mlp_y, scale_mlp_y, gate_mlp_y = modulation
    concept = torch.addcmul(concept, gate_msa_y, block.attn.proj_y(concept_out))
    y_norm = apply_adaln_(block.norm_y2(concept), shift_mlp_y, scale_mlp_y)
    return torch.addcmul(concept, gate_mlp_y, block.mlp_y(y_norm))
