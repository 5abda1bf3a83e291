"""AuraFlow in ComfyUI: 0.1 to 0.3 and fine-tunes such as Pony V7.

Phases follow `DoubleAttention.forward` and `MMDiTBlock.forward` of comfy/ldm/aura/mmdit.py (0.19 to 0.33), so the two
can be diffed.

Convention: eight register tokens come first, then the prompt's, then the picture's, row-major over 2x2 latent cells.
Text has no positions. Register tokens count as the prompt's, as they read it from the first block on: concepts do not
look at them.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from comfy.ldm.aura.mmdit import MMDiT, modulate
from torch import Tensor, nn

from .... import attention
from ...architecture import AUTHORS_FLUX_LAYERS, Architecture, TokenSlices, last_layers
from . import adapter
from .block_call import BlockCall, ModuleCall, Rows
from .network import network

SUPPORTED = ("AuraFlow",)


def matches(model: Any) -> bool:
    return isinstance(network(model), MMDiT)


def describe(model: Any) -> Architecture:
    aura = network(model)
    count = len(aura.double_layers)
    attn = aura.double_layers[0].attn
    return Architecture(
        name="auraflow",
        joint_blocks=count,
        heads=attn.n_heads,
        head_dim=attn.head_dim,
        text_width=aura.cond_seq_linear.in_features,
        patch=aura.patch_size,
        default_layers=last_layers(count, AUTHORS_FLUX_LAYERS),
    )


def joint_blocks(aura: Any) -> nn.ModuleList:
    return aura.double_layers


def token_slices(call: BlockCall, keys: int, tokens: int) -> TokenSlices:
    return TokenSlices.text_first(call.arguments["x"].shape[1], keys, tokens)


conditioning_modules = adapter.conditioning_modules
concept_modulation = adapter.concept_modulation


def project_concepts(aura: Any, embeddings: Tensor, calls: Mapping[str, ModuleCall], rows: Rows) -> Tensor:
    """Text encoder embeddings (1, C, E) to block-0 concept tokens, (1, C, D)."""
    return aura.cond_seq_linear(embeddings)


def attend_concepts(
    block: Any,
    concept: Tensor,
    vec: None,
    image_k: Tensor,
    image_v: Tensor,
    call: BlockCall,
    key_bias: Tensor | None = None,
) -> tuple[Tensor, Any]:
    """Of an `MMDiTBlock`; see `Adapter`."""
    attn = block.attn
    shift_msa, scale_msa, *rest = block.modC(call.arguments["global_cond"][call.rows]).chunk(6, dim=1)
    concept_modulated = modulate(block.normC1(concept), shift_msa, scale_msa)

    heads = (attn.n_heads, attn.head_dim)
    concept_q = attn.q_norm1(attn.w1q(concept_modulated).unflatten(-1, heads)).transpose(1, 2)
    concept_k = attn.k_norm1(attn.w1k(concept_modulated).unflatten(-1, heads)).transpose(1, 2)
    concept_v = attn.w1v(concept_modulated).unflatten(-1, heads).transpose(1, 2)

    concept_out = attention.attend_concepts(concept_q, concept_k, concept_v, image_k, image_v, key_bias=key_bias)
    return concept_out, rest


def update_concepts(block: Any, concept: Tensor, concept_out: Tensor, modulation: Any) -> Tensor:
    """The rest of the block's text path: projection, gate, norm and MLP. (B, C, D) to (B, C, D)."""
    gate_msa, shift_mlp, scale_mlp, gate_mlp = modulation
    attended = block.normC2(concept + gate_msa.unsqueeze(1) * block.attn.w1o(concept_out))
    return concept + gate_mlp.unsqueeze(1) * block.mlpC(modulate(attended, shift_mlp, scale_mlp))
