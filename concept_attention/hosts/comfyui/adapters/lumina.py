"""Lumina Image 2.0, NewBie and Z-Image (also Omni and its pixel-space variant) in ComfyUI.

Phases follow `JointTransformerBlock.forward` and `JointAttention.forward` of comfy/ldm/lumina/model.py (0.19 to 0.33),
so the two can be diffed. There is one stream: concepts go through the weights that text and image tokens share.

Convention: captions come first, then (Omni) reference images as a vision encoder sees them, the reference images, and
last the generated image. Z-Image pads captions and images, the generated image at its end. Text and image tokens attend
to pad tokens, and concepts to those of the images.
Source: arXiv:2502.04320, Sec. 4.1, carried over to one stream; the authors have no such model.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import comfy.model_base
from comfy.ldm.flux.math import apply_rope
from comfy.ldm.lumina.model import NextDiT, clamp_fp16, modulate
from torch import Tensor, nn

from ...architecture import AUTHORS_FLUX_LAYERS, Architecture, TokenSlices, last_read_layers
from .adapter import Adapter
from .block_call import BlockCall
from .network import network_of

TEMPLATE_TOKENS = 3  # before the words of Z-Image's captions; before those of the others there is a start token


class Lumina(Adapter):
    supported = ("Lumina Image 2.0", "NewBie", "Z-Image")

    def matches(self, model: Any) -> bool:
        """Ming-Image (0.36) has the same network, but its text embeddings are not those of words."""
        other_text = getattr(comfy.model_base, "MingImage", ())
        return isinstance(network_of(model), NextDiT) and not isinstance(model, other_text)

    def describe(self, model: Any) -> Architecture:
        network = network_of(model)
        count = len(network.layers)
        padded = network.pad_tokens_multiple is not None  # Z-Image
        return Architecture(
            name="z_image" if padded else "lumina2",
            layer_count=count,
            text_width=network.cap_embedder[1].in_features,
            patch=network.patch_size,
            default_layers=last_read_layers(count, AUTHORS_FLUX_LAYERS),
            concept_position=TEMPLATE_TOKENS if padded else 1,
        )

    def joint_blocks(self, network: Any) -> nn.ModuleList:
        return network.layers

    def token_slices(self, call: BlockCall, keys: int) -> TokenSlices:
        captions = call.calls["captions"].arguments[0].shape[1]
        timestep_zero = call.arguments.get("timestep_zero_index")
        start = timestep_zero[0][0] if timestep_zero else captions
        return TokenSlices(image=slice(captions, keys), target=slice(start, start + call.tokens))

    def conditioning_modules(self, network: Any) -> Mapping[str, nn.Module]:
        """What all captions go through together, which tells how long they are."""
        return {"captions": network.context_refiner[0]}

    def project_concepts(self, network: Any, embeddings: Tensor, call: BlockCall) -> Tensor:
        """(1, C, D), each refined alone, as a caption of one token."""
        mask, freqs_cis = None, call.calls["captions"].arguments[2][:1, :1]
        concept = network.cap_embedder(embeddings).transpose(0, 1)
        for layer in network.context_refiner:
            concept = layer(concept, mask, freqs_cis)
        return concept.transpose(0, 1)

    def concept_qkv(self, block: Any, concept: Tensor, call: BlockCall) -> tuple[Tensor, Tensor, Tensor, Any]:
        adaln_input = call.arguments["adaln_input"]
        if call.arguments.get("timestep_zero_index") is not None:
            adaln_input = adaln_input.chunk(2)[1]  # the first half is that of reference images
        scale_msa, *modulation = block.adaLN_modulation(call.select(adaln_input)).chunk(4, dim=1)

        joint = block.attention
        concept_qkv = joint.qkv(modulate(block.attention_norm1(concept), scale_msa)).unflatten(-1, (-1, joint.head_dim))
        concept_q, concept_k, concept_v = concept_qkv.split(
            (joint.n_local_heads, joint.n_local_kv_heads, joint.n_local_kv_heads), dim=2
        )
        freqs_cis = call.rotations(call.arguments["freqs_cis"], 1, _text(call))
        concept_q, concept_k = apply_rope(joint.q_norm(concept_q), joint.k_norm(concept_k), freqs_cis)
        concept_q, concept_k, concept_v = (part.transpose(1, 2) for part in (concept_q, concept_k, concept_v))
        return concept_q, concept_k, concept_v, modulation

    def update_concepts(self, block: Any, concept: Tensor, concept_out: Tensor, modulation: Any) -> Tensor:
        gate_msa, scale_mlp, gate_mlp = modulation
        attended = block.attention_norm2(clamp_fp16(block.attention.out(concept_out)))
        concept = concept + gate_msa.unsqueeze(1).tanh() * attended
        hidden = clamp_fp16(block.feed_forward(modulate(block.ffn_norm1(concept), scale_mlp)))
        return concept + gate_mlp.unsqueeze(1).tanh() * block.ffn_norm2(hidden)


def _text(call: BlockCall) -> slice:
    """The generated image's caption; Omni's reference images have captions of their own, before it."""
    timestep_zero = call.arguments.get("timestep_zero_index")
    return slice(*timestep_zero[1]) if timestep_zero else slice(0, call.calls["captions"].arguments[0].shape[1])
