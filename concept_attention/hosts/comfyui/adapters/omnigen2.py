"""OmniGen 2 in ComfyUI.

Phases follow `OmniGen2TransformerBlock.forward` and `Attention.forward` of comfy/ldm/omnigen/omnigen2.py (0.19 to
0.33), so the two can be diffed. There is one stream: concepts go through the weights that text and image tokens share.

Convention: text tokens come first, then those of reference images, last the generated image's.
Source: arXiv:2502.04320, Sec. 4.1, carried over to one stream; the authors have no such model.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from comfy.ldm.omnigen.omnigen2 import OmniGen2Transformer2DModel, apply_rotary_emb
from torch import Tensor, nn

from ...architecture import AUTHORS_FLUX_LAYERS, Architecture, TokenSlices, last_read_layers
from .adapter import Adapter
from .block_call import BlockCall
from .network import network_of

TEMPLATE_TOKENS = 23  # of ComfyUI's template, before the words of a prompt


class OmniGen2(Adapter):
    supported = ("OmniGen 2",)

    def matches(self, model: Any) -> bool:
        return isinstance(network_of(model), OmniGen2Transformer2DModel)

    def describe(self, model: Any) -> Architecture:
        network = network_of(model)
        count = len(network.layers)
        return Architecture(
            name="omnigen2",
            layer_count=count,
            text_width=network.time_caption_embed.caption_embedder[1].in_features,
            patch=network.patch_size,
            default_layers=last_read_layers(count, AUTHORS_FLUX_LAYERS),
            concept_position=TEMPLATE_TOKENS,
        )

    def joint_blocks(self, network: Any) -> nn.ModuleList:
        return network.layers

    def token_slices(self, call: BlockCall, keys: int) -> TokenSlices:
        return TokenSlices(image=slice(_text(call).stop, keys), target=slice(keys - call.tokens, keys))

    def conditioning_modules(self, network: Any) -> Mapping[str, nn.Module]:
        """What the text alone goes through, which tells how long it is."""
        return {"text": network.context_refiner[0]}

    def project_concepts(self, network: Any, embeddings: Tensor, call: BlockCall) -> Tensor:
        """(1, C, D), each refined alone, as a prompt of one token."""
        mask, rotary_emb = None, call.calls["text"].arguments[2][:1, :1]
        concept = network.time_caption_embed.caption_embedder(embeddings).transpose(0, 1)
        for layer in network.context_refiner:
            concept = layer(concept, mask, rotary_emb)
        return concept.transpose(0, 1)

    def concept_qkv(self, block: Any, concept: Tensor, call: BlockCall) -> tuple[Tensor, Tensor, Tensor, Any]:
        concept_modulated, *modulation = block.norm1(concept, call.select(call.arguments["temb"]))

        attn = block.attn
        concept_q, concept_k, concept_v = (
            project(concept_modulated).unflatten(-1, (-1, attn.dim_head))
            for project in (attn.to_q, attn.to_k, attn.to_v)
        )
        rotary_emb = call.rotations(call.arguments["image_rotary_emb"], 1, _text(call))
        concept_q = apply_rotary_emb(attn.norm_q(concept_q), rotary_emb)
        concept_k = apply_rotary_emb(attn.norm_k(concept_k), rotary_emb)
        concept_q, concept_k, concept_v = (part.transpose(1, 2) for part in (concept_q, concept_k, concept_v))
        return concept_q, concept_k, concept_v, modulation

    def update_concepts(self, block: Any, concept: Tensor, concept_out: Tensor, modulation: Any) -> Tensor:
        gate_msa, scale_mlp, gate_mlp = modulation
        concept = concept + gate_msa.unsqueeze(1).tanh() * block.norm2(block.attn.to_out[0](concept_out))
        hidden = block.feed_forward(block.ffn_norm1(concept) * (1 + scale_mlp.unsqueeze(1)))
        return concept + gate_mlp.unsqueeze(1).tanh() * block.ffn_norm2(hidden)


def _text(call: BlockCall) -> slice:
    return slice(0, call.calls["text"].arguments[0].shape[1])
