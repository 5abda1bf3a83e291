"""Krea 2 in ComfyUI.

Phases follow `SingleStreamBlock.forward` and `Attention.forward` of comfy/ldm/krea2/model.py (0.33), so the two can be
diffed. There is one stream: concepts go through the weights that text and image tokens share.

Convention: text tokens come first, then the picture's, then those of reference pictures. Attention outputs are taken
before the block's sigmoid gate, which belongs to the projection.
Source: arXiv:2502.04320, Sec. 4.1, carried over to one stream; the authors have no such model.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from comfy.ldm.flux.math import apply_rope
from comfy.ldm.krea2.model import SingleStreamDiT
from torch import Tensor, nn

from .... import attention
from ...architecture import AUTHORS_FLUX_LAYERS, Architecture, TokenSlices, last_read_layers
from . import adapter
from .block_call import BlockCall, ModuleCall, Rows
from .network import network

SUPPORTED = ("Krea 2",)


def matches(model: Any) -> bool:
    return isinstance(network(model), SingleStreamDiT)


def describe(model: Any) -> Architecture:
    krea = network(model)
    count, attn = len(krea.blocks), krea.blocks[0].attn
    return Architecture(
        name="krea2",
        joint_blocks=count,
        heads=attn.heads,
        head_dim=attn.headdim,
        text_width=krea.txtlayers * krea.txtdim,
        patch=krea.patch,
        default_layers=last_read_layers(count, AUTHORS_FLUX_LAYERS),
    )


def joint_blocks(krea: Any) -> nn.ModuleList:
    return krea.blocks


def token_slices(call: BlockCall, keys: int, tokens: int) -> TokenSlices:
    text = _text(call)
    return TokenSlices(text, slice(text.stop, keys), slice(text.stop, text.stop + tokens))


def _text(call: BlockCall) -> slice:
    return slice(0, call.calls["text"].output.shape[1])


def conditioning_modules(krea: Any) -> Mapping[str, nn.Module]:
    """What makes the text tokens, which tells how many there are."""
    return {"text": krea.txtmlp}


concept_modulation = adapter.concept_modulation


def project_concepts(krea: Any, embeddings: Tensor, calls: Mapping[str, ModuleCall], rows: Rows) -> Tensor:
    """Text encoder embeddings (1, C, E) to concept tokens (1, C, D), each fused alone, as a prompt of one token."""
    layers = embeddings.transpose(0, 1).unflatten(-1, (krea.txtlayers, krea.txtdim))
    return krea.txtmlp(krea.txtfusion(layers)).transpose(0, 1)


def attend_concepts(
    block: Any,
    concept: Tensor,
    vec: None,
    image_k: Tensor,
    image_v: Tensor,
    call: BlockCall,
    key_bias: Tensor | None = None,
) -> tuple[Tensor, Any]:
    """Of a `SingleStreamBlock`; see `Adapter`. The output is that before gate and projection."""
    modulation = call.arguments["vec"]
    if call.arguments.get("timestep_zero_index") is not None:
        modulation = modulation.chunk(2)[0]  # the second half is that of reference pictures
    prescale, preshift, *rest = block.mod(call.select(modulation))

    attn = block.attn
    concept_modulated = (1 + prescale) * block.prenorm(concept) + preshift
    concept_q, concept_k, concept_v = (
        project(concept_modulated).unflatten(-1, (-1, attn.headdim)).transpose(1, 2)
        for project in (attn.wq, attn.wk, attn.wv)
    )
    concept_q, concept_k = attn.qknorm(concept_q, concept_k)
    concept_q, concept_k = apply_rope(concept_q, concept_k, call.rotations(call.arguments["freqs"], 2, _text(call)))
    concept_k, concept_v = (
        part.repeat_interleave(attn.heads // part.shape[1], dim=1) for part in (concept_k, concept_v)
    )
    concept_out = attention.attend_concepts(concept_q, concept_k, concept_v, image_k, image_v, key_bias=key_bias)
    return concept_out, (attn.gate(concept_modulated).sigmoid(), *rest)


def update_concepts(block: Any, concept: Tensor, concept_out: Tensor, modulation: Any) -> Tensor:
    """The rest of the block: gates, projection and MLP. (B, C, D) to (B, C, D)."""
    gate, pregate, postscale, postshift, postgate = modulation
    concept = concept + pregate * block.attn.wo(concept_out * gate)
    return concept + postgate * block.mlp((1 + postscale) * block.postnorm(concept) + postshift)
