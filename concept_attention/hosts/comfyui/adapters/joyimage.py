"""JoyImage (JoyAI-Image, Edit) in ComfyUI.

Phases follow `JoyImageTransformerBlock.forward` and `JoyImageAttention` in comfy/ldm/joyimage/model.py (0.33).

Convention: the picture's tokens come first, row-major, then those of reference pictures, then the text's, which have
no position.
Source: arXiv:2502.04320, Sec. 4.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from comfy.ldm.joyimage.model import JoyImageTransformer3DModel
from torch import Tensor, nn

from .... import attention
from ...architecture import AUTHORS_FLUX_LAYERS, Architecture, TokenSlices, last_read_layers
from . import adapter
from .block_call import BlockCall, ModuleCall, Rows
from .network import network

SUPPORTED = ("JoyImage",)


def matches(model: Any) -> bool:
    return isinstance(network(model), JoyImageTransformer3DModel)


def describe(model: Any) -> Architecture:
    joy = network(model)
    count, heads = len(joy.double_blocks), joy.double_blocks[0].attn.num_attention_heads
    return Architecture(
        name="joyimage",
        joint_blocks=count,
        heads=heads,
        head_dim=joy.img_in.out_channels // heads,
        text_width=joy.condition_embedder.text_embedder.linear_1.in_features,
        patch=joy.patch_size[1],
        default_layers=last_read_layers(count, AUTHORS_FLUX_LAYERS),
        frame_patch=joy.patch_size[0],
    )


def joint_blocks(joy: Any) -> nn.ModuleList:
    return joy.double_blocks


def token_slices(call: BlockCall, keys: int, tokens: int) -> TokenSlices:
    return TokenSlices.image_first(call.arguments["hidden_states"].shape[1], keys, tokens)


conditioning_modules = adapter.conditioning_modules
concept_modulation = adapter.concept_modulation


def project_concepts(joy: Any, embeddings: Tensor, calls: Mapping[str, ModuleCall], rows: Rows) -> Tensor:
    """Text encoder embeddings (1, C, E) to block-0 concept tokens (1, C, D), the same in every row."""
    return joy.condition_embedder.text_embedder(embeddings)


def attend_concepts(
    block: Any,
    concept: Tensor,
    vec: None,
    image_k: Tensor,
    image_v: Tensor,
    call: BlockCall,
    key_bias: Tensor | None = None,
) -> tuple[Tensor, Any]:
    """Of a `JoyImageTransformerBlock`; see `Adapter`."""
    mods = [mod.unsqueeze(1) for mod in block.txt_mod(call.arguments["temb"][call.rows])]
    txt_mod1_shift, txt_mod1_scale, *rest = mods

    txt_modulated = block.txt_norm1(concept) * (1 + txt_mod1_scale) + txt_mod1_shift
    attn = block.attn
    concept_q, concept_k, concept_v = (
        part.unflatten(-1, (attn.num_attention_heads, -1)) for part in attn.txt_attn_qkv(txt_modulated).chunk(3, dim=-1)
    )
    concept_q, concept_k = attn.txt_attn_q_norm(concept_q), attn.txt_attn_k_norm(concept_k)

    concept_q, concept_k, concept_v = (part.transpose(1, 2) for part in (concept_q, concept_k, concept_v))
    concept_out = attention.attend_concepts(concept_q, concept_k, concept_v, image_k, image_v, key_bias=key_bias)
    return concept_out, rest


def update_concepts(block: Any, concept: Tensor, concept_out: Tensor, modulation: Any) -> Tensor:
    """The rest of the block's text path: projection, gate and MLP. (B, C, D) to (B, C, D)."""
    txt_mod1_gate, txt_mod2_shift, txt_mod2_scale, txt_mod2_gate = modulation
    concept = concept + block.attn.txt_attn_proj(concept_out) * txt_mod1_gate
    txt_ffn_input = block.txt_norm2(concept) * (1 + txt_mod2_scale) + txt_mod2_shift
    return concept + block.txt_mlp(txt_ffn_input) * txt_mod2_gate
