"""HiDream-I1 in ComfyUI: full, dev and fast.

Phases follow `HiDreamImageTransformerBlock.forward` and `HiDreamAttnProcessor_flashattn` of comfy/ldm/hidream/model.py
(0.19 to 0.33), so the two can be diffed.

Convention: the picture's tokens come first, row-major over 2x2 latent cells, then the text's: T5, the last Llama layer,
and one more Llama layer that every block gets anew and drops again. Concepts are T5 words, which stay. All text has the
position (0, 0, 0), whose rotation is the identity.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from comfy.ldm.hidream.model import HiDreamImageTransformer2DModel
from torch import Tensor, nn

from .... import attention
from ...architecture import AUTHORS_FLUX_LAYERS, Architecture, TokenSlices, last_layers
from . import adapter
from .block_call import BlockCall, ModuleCall, Rows
from .network import network

SUPPORTED = ("HiDream-I1",)


def matches(model: Any) -> bool:
    return isinstance(network(model), HiDreamImageTransformer2DModel)


def describe(model: Any) -> Architecture:
    hidream = network(model)
    count = len(hidream.double_stream_blocks)
    return Architecture(
        name="hidream",
        joint_blocks=count,
        heads=hidream.num_attention_heads,
        head_dim=hidream.attention_head_dim,
        text_width=hidream.caption_projection[-1].linear.in_features,
        patch=hidream.patch_size,
        default_layers=last_layers(count, AUTHORS_FLUX_LAYERS),
    )


def joint_blocks(hidream: Any) -> nn.ModuleList:
    return hidream.double_stream_blocks


def token_slices(call: BlockCall, keys: int, tokens: int) -> TokenSlices:
    image = call.arguments["image_tokens"].shape[1]
    # HiDream-E1 sets a reference picture beside the one being made: its tokens lie between the rows of the picture's,
    # which then are no slice. One beyond the image's says that they have not been found.
    start = 0 if image == tokens else image
    return TokenSlices(text=slice(image, keys), image=slice(0, image), picture=slice(start, start + tokens))


conditioning_modules = adapter.conditioning_modules
concept_modulation = adapter.concept_modulation


def project_concepts(hidream: Any, embeddings: Tensor, calls: Mapping[str, ModuleCall], rows: Rows) -> Tensor:
    """T5 embeddings (1, C, E) to block-0 concept tokens, (1, C, D)."""
    return hidream.caption_projection[-1](embeddings)


def attend_concepts(
    block: Any,
    concept: Tensor,
    vec: None,
    image_k: Tensor,
    image_v: Tensor,
    call: BlockCall,
    key_bias: Tensor | None = None,
) -> tuple[Tensor, Any]:
    """Of a `HiDreamImageBlock`; see `Adapter`."""
    inner, attn = block.block, block.block.attn1
    modulation = inner.adaLN_modulation(call.arguments["adaln_input"][call.rows])[:, None]
    shift_msa_t, scale_msa_t, *rest = modulation.chunk(12, dim=-1)[6:]
    concept_modulated = inner.norm1_t(concept).to(concept.dtype) * (1 + scale_msa_t) + shift_msa_t

    heads = (attn.heads, -1)
    concept_q = attn.q_rms_norm_t(attn.to_q_t(concept_modulated)).to(concept.dtype).unflatten(-1, heads)
    concept_k = attn.k_rms_norm_t(attn.to_k_t(concept_modulated)).to(concept.dtype).unflatten(-1, heads)
    concept_v = attn.to_v_t(concept_modulated).unflatten(-1, heads)
    concept_q, concept_k, concept_v = (part.transpose(1, 2) for part in (concept_q, concept_k, concept_v))

    concept_out = attention.attend_concepts(concept_q, concept_k, concept_v, image_k, image_v, key_bias=key_bias)
    return concept_out, rest


def update_concepts(block: Any, concept: Tensor, concept_out: Tensor, modulation: Any) -> Tensor:
    """The rest of the block's text path: projection, gate and MLP. (B, C, D) to (B, C, D)."""
    inner = block.block
    gate_msa_t, shift_mlp_t, scale_mlp_t, gate_mlp_t = modulation
    concept = gate_msa_t * inner.attn1.to_out_t(concept_out) + concept
    concept_modulated = inner.norm3_t(concept).to(concept.dtype) * (1 + scale_mlp_t) + shift_mlp_t
    return gate_mlp_t * inner.ff_t(concept_modulated) + concept
