"""Microsoft Lens in ComfyUI.

Phases follow `LensTransformerBlock.forward` and `LensJointAttention` in comfy/ldm/lens/model.py (0.33).

Convention: the picture's tokens come first, row-major, then the text's. A latent cell is a token: two by two cells of
the VAE lie in its channels.
Source: arXiv:2502.04320, Sec. 4. Concepts take the place of a prompt's first token, which is turned by its number.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from comfy.ldm.flux.math import apply_rope
from comfy.ldm.lens.model import LensTransformer2DModel
from torch import Tensor, nn

from .... import attention
from ...architecture import AUTHORS_FLUX_LAYERS, Architecture, TokenSlices, last_read_layers
from .block_call import BlockCall, ModuleCall, Rows
from .network import network

SUPPORTED = ("Lens",)


def matches(model: Any) -> bool:
    return isinstance(network(model), LensTransformer2DModel)


def describe(model: Any) -> Architecture:
    lens = network(model)
    count, attn = len(lens.transformer_blocks), lens.transformer_blocks[0].attn
    return Architecture(
        name="lens",
        joint_blocks=count,
        heads=attn.heads,
        head_dim=attn.dim_head,
        text_width=lens.txt_in.in_features,
        patch=1,
        default_layers=last_read_layers(count, AUTHORS_FLUX_LAYERS),
    )


def joint_blocks(lens: Any) -> nn.ModuleList:
    return lens.transformer_blocks


def token_slices(call: BlockCall, keys: int, tokens: int) -> TokenSlices:
    return TokenSlices.image_first(call.arguments["hidden_states"].shape[1], keys, tokens)


def conditioning_modules(lens: Any) -> Mapping[str, nn.Module]:
    """What tells the places of the text tokens; the timestep's embedding every block is told."""
    return {"image": lens.img_in, "places": lens.pos_embed}


def concept_modulation(lens: Any, calls: Mapping[str, ModuleCall], rows: Rows) -> Tensor:
    """Rotations of the text's places, (1, 1, L, head_dim / 2, 2, 2): of the first one also where the prompt is empty.

    An empty prompt has no tokens here. The first place is the one after the largest of the picture's.
    """
    (ids,) = calls["places"].arguments
    text = ids[:, calls["image"].output.shape[1] :]
    return lens.pos_embed(text if text.shape[1] else ids.amax(dim=(1, 2), keepdim=True).expand(-1, -1, 3) + 1)


def project_concepts(lens: Any, embeddings: Tensor, calls: Mapping[str, ModuleCall], rows: Rows) -> Tensor:
    """Text encoder embeddings (1, C, E) to block-0 concept tokens (1, C, D), the same in every row.

    E are the widths of several of the text encoder's layers, each with a norm of its own, or of one layer.
    """
    if not lens.multi_layer_encoder_feature:
        return lens.txt_in(lens.txt_norm(embeddings))
    layers = embeddings.chunk(len(lens.txt_norm), dim=-1)
    return lens.txt_in(torch.cat([norm(layer) for norm, layer in zip(lens.txt_norm, layers, strict=True)], dim=-1))


def attend_concepts(
    block: Any,
    concept: Tensor,
    vec: Tensor,
    image_k: Tensor,
    image_v: Tensor,
    call: BlockCall,
    key_bias: Tensor | None = None,
) -> tuple[Tensor, Any]:
    """Of a `LensTransformerBlock`; see `Adapter`. `vec` are the rotations of the text's places."""
    txt_mod1, txt_mod2 = block.txt_mod(call.arguments["temb"][call.rows]).chunk(2, dim=-1)

    txt_modulated, txt_gate1 = block._modulate(block.txt_norm1(concept), txt_mod1)
    attn = block.attn
    concept_q, concept_k, concept_v = attn.txt_qkv(txt_modulated).unflatten(-1, (3, attn.heads, -1)).unbind(dim=2)
    concept_q, concept_k = attn.norm_added_q(concept_q), attn.norm_added_k(concept_k)

    concept_q, concept_k, concept_v = (part.transpose(1, 2) for part in (concept_q, concept_k, concept_v))
    concept_q, concept_k = apply_rope(concept_q, concept_k, call.rotations(vec, 2, slice(0, vec.shape[2])))
    concept_out = attention.attend_concepts(concept_q, concept_k, concept_v, image_k, image_v, key_bias=key_bias)
    return concept_out, (txt_gate1, txt_mod2)


def update_concepts(block: Any, concept: Tensor, concept_out: Tensor, modulation: Any) -> Tensor:
    """The rest of the block's text path: projection, gate and MLP. (B, C, D) to (B, C, D)."""
    txt_gate1, txt_mod2 = modulation
    concept = concept + txt_gate1 * block.attn.to_add_out(concept_out)
    txt_modulated2, txt_gate2 = block._modulate(block.txt_norm2(concept), txt_mod2)
    return concept + txt_gate2 * block.txt_mlp(txt_modulated2)
