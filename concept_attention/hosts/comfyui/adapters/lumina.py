"""Lumina Image 2.0, NewBie and Z-Image (also Omni and its pixel-space variant) in ComfyUI.

Phases follow `JointTransformerBlock.forward` and `JointAttention.forward` of comfy/ldm/lumina/model.py (0.19 to 0.33),
so the two can be diffed. There is one stream: concepts go through the weights that text and image tokens share.

Convention: captions come first, then (Omni) what a vision encoder said about reference pictures, the reference
pictures, and last the picture. Z-Image fills captions and pictures up with pad tokens, the picture's behind it; text
and image tokens look at them, and so do concepts at the picture's.
Source: arXiv:2502.04320, Sec. 4.1, carried over to one stream; the authors have no such model.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from comfy.ldm.flux.math import apply_rope
from comfy.ldm.lumina.model import NextDiT, clamp_fp16, modulate
from torch import Tensor, nn

from .... import attention
from ...architecture import AUTHORS_FLUX_LAYERS, Architecture, TokenSlices, last_read_layers
from . import adapter
from .block_call import BlockCall, ModuleCall, Rows
from .network import network

SUPPORTED = ("Lumina Image 2.0", "NewBie", "Z-Image")

TEMPLATE_TOKENS = 3  # before the words of Z-Image's captions; before those of the others there is a start token


def matches(model: Any) -> bool:
    return isinstance(network(model), NextDiT)


def describe(model: Any) -> Architecture:
    lumina = network(model)
    count, joint = len(lumina.layers), lumina.layers[0].attention
    padded = lumina.pad_tokens_multiple is not None  # Z-Image
    return Architecture(
        name="z_image" if padded else "lumina2",
        joint_blocks=count,
        heads=joint.n_local_heads,
        head_dim=joint.head_dim,
        text_width=lumina.cap_embedder[1].in_features,
        patch=lumina.patch_size,
        default_layers=last_read_layers(count, AUTHORS_FLUX_LAYERS),
        concept_position=TEMPLATE_TOKENS if padded else 1,
    )


def joint_blocks(lumina: Any) -> nn.ModuleList:
    return lumina.layers


def token_slices(call: BlockCall, keys: int, tokens: int) -> TokenSlices:
    captions = call.calls["captions"].arguments[0].shape[1]
    timestep_zero = call.arguments.get("timestep_zero_index")
    start = timestep_zero[0][0] if timestep_zero else captions
    return TokenSlices(_text(call), slice(captions, keys), slice(start, start + tokens))


def _text(call: BlockCall) -> slice:
    """The caption of the picture; Omni's reference pictures have captions of their own, before it."""
    timestep_zero = call.arguments.get("timestep_zero_index")
    return slice(*timestep_zero[1]) if timestep_zero else slice(0, call.calls["captions"].arguments[0].shape[1])


def conditioning_modules(lumina: Any) -> Mapping[str, nn.Module]:
    """What all captions go through together, which tells how long they are."""
    return {"captions": lumina.context_refiner[0]}


concept_modulation = adapter.concept_modulation


def project_concepts(lumina: Any, embeddings: Tensor, calls: Mapping[str, ModuleCall], rows: Rows) -> Tensor:
    """Text encoder embeddings (1, C, E) to concept tokens (1, C, D), each refined alone, as a caption of one token."""
    mask, freqs_cis = None, calls["captions"].arguments[2][:1, :1]
    concept = lumina.cap_embedder(embeddings).transpose(0, 1)
    for layer in lumina.context_refiner:
        concept = layer(concept, mask, freqs_cis)
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
    """Of a `JointTransformerBlock`; see `Adapter`."""
    adaln_input = call.arguments["adaln_input"]
    if call.arguments.get("timestep_zero_index") is not None:
        adaln_input = adaln_input.chunk(2)[1]  # of the picture and its caption; the first half is the references'
    scale_msa, *modulation = block.adaLN_modulation(call.select(adaln_input)).chunk(4, dim=1)

    joint = block.attention
    concept_qkv = joint.qkv(modulate(block.attention_norm1(concept), scale_msa)).unflatten(-1, (-1, joint.head_dim))
    concept_q, concept_k, concept_v = concept_qkv.split(
        (joint.n_local_heads, joint.n_local_kv_heads, joint.n_local_kv_heads), dim=2
    )
    freqs_cis = call.rotations(call.arguments["freqs_cis"], 1, _text(call))
    concept_q, concept_k = apply_rope(joint.q_norm(concept_q), joint.k_norm(concept_k), freqs_cis)
    concept_q, concept_k, concept_v = (
        part.repeat_interleave(joint.n_local_heads // part.shape[2], dim=2).transpose(1, 2)
        for part in (concept_q, concept_k, concept_v)
    )
    concept_out = attention.attend_concepts(concept_q, concept_k, concept_v, image_k, image_v, key_bias=key_bias)
    return concept_out, modulation


def update_concepts(block: Any, concept: Tensor, concept_out: Tensor, modulation: Any) -> Tensor:
    """The rest of the layer: projection, gate and MLP. (B, C, D) to (B, C, D)."""
    gate_msa, scale_mlp, gate_mlp = modulation
    attended = block.attention_norm2(clamp_fp16(block.attention.out(concept_out)))
    concept = concept + gate_msa.unsqueeze(1).tanh() * attended
    hidden = clamp_fp16(block.feed_forward(modulate(block.ffn_norm1(concept), scale_mlp)))
    return concept + gate_mlp.unsqueeze(1).tanh() * block.ffn_norm2(hidden)
