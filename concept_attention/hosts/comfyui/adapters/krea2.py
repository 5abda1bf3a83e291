"""Krea 2 in ComfyUI.

Phases follow `SingleStreamBlock.forward` and `Attention.forward` of comfy/ldm/krea2/model.py (0.33), so the two can be
diffed. There is one stream: concepts go through the weights that text and image tokens share.

Convention: text tokens come first, then the image's, then those of reference images. Attention outputs are taken
before the block's sigmoid gate, which belongs to the projection.
Source: arXiv:2502.04320, Sec. 4.1, carried over to one stream; the authors have no such model.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from comfy.ldm.flux.math import apply_rope
from comfy.ldm.krea2.model import SingleStreamDiT
from torch import Tensor, nn

from ...architecture import AUTHORS_FLUX_LAYERS, Architecture, TokenSlices, last_read_layers
from .adapter import Adapter
from .block_call import BlockCall
from .network import network_of


class Krea2(Adapter):
    supported = ("Krea 2",)

    def matches(self, model: Any) -> bool:
        return isinstance(network_of(model), SingleStreamDiT)

    def describe(self, model: Any) -> Architecture:
        network = network_of(model)
        count = len(network.blocks)
        return Architecture(
            name="krea2",
            layer_count=count,
            text_width=network.txtlayers * network.txtdim,
            patch=network.patch,
            default_layers=last_read_layers(count, AUTHORS_FLUX_LAYERS),
        )

    def joint_blocks(self, network: Any) -> nn.ModuleList:
        return network.blocks

    def token_slices(self, call: BlockCall, keys: int) -> TokenSlices:
        start = _text(call).stop
        return TokenSlices(image=slice(start, keys), target=slice(start, start + call.tokens))

    def conditioning_modules(self, network: Any) -> Mapping[str, nn.Module]:
        """What makes the text tokens, which tells how many there are."""
        return {"text": network.txtmlp}

    def project_concepts(self, network: Any, embeddings: Tensor, call: BlockCall) -> Tensor:
        """(1, C, D), each fused alone, as a prompt of one token."""
        layers = embeddings.transpose(0, 1).unflatten(-1, (network.txtlayers, network.txtdim))
        return network.txtmlp(network.txtfusion(layers)).transpose(0, 1)

    def concept_qkv(self, block: Any, concept: Tensor, call: BlockCall) -> tuple[Tensor, Tensor, Tensor, Any]:
        modulation = call.arguments["vec"]
        if call.arguments.get("timestep_zero_index") is not None:
            modulation = modulation.chunk(2)[0]  # the second half is that of reference images
        prescale, preshift, *rest = block.mod(call.select(modulation))

        attn = block.attn
        concept_modulated = (1 + prescale) * block.prenorm(concept) + preshift
        concept_q, concept_k, concept_v = (
            project(concept_modulated).unflatten(-1, (-1, attn.headdim)).transpose(1, 2)
            for project in (attn.wq, attn.wk, attn.wv)
        )
        concept_q, concept_k = attn.qknorm(concept_q, concept_k)
        freqs = call.rotations(call.arguments["freqs"], 2, _text(call))
        concept_q, concept_k = apply_rope(concept_q, concept_k, freqs)
        return concept_q, concept_k, concept_v, (attn.gate(concept_modulated).sigmoid(), *rest)

    def update_concepts(self, block: Any, concept: Tensor, concept_out: Tensor, modulation: Any) -> Tensor:
        gate, pregate, postscale, postshift, postgate = modulation
        concept = concept + pregate * block.attn.wo(concept_out * gate)
        return concept + postgate * block.mlp((1 + postscale) * block.postnorm(concept) + postshift)


def _text(call: BlockCall) -> slice:
    return slice(0, call.calls["text"].output.shape[1])
