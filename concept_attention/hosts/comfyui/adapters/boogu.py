"""Boogu-Image in ComfyUI: its double-stream layers, which come before those that text and image share.

Phases follow `BooguDoubleStreamBlock.forward` and `BooguDoubleStreamProcessor` in comfy/ldm/boogu/model.py (0.33).

Convention: text ("instruct") tokens come first, then those of reference images, then the generated image's, row-major.
Source: arXiv:2502.04320, Sec. 4. Concepts take the position of a one-word prompt, behind the text encoder's template,
and go through the refiner of the text alone.
"""

from __future__ import annotations

from typing import Any

from comfy.ldm.boogu.model import BooguTransformer2DModel
from comfy.ldm.flux.math import apply_rope1
from torch import Tensor, nn

from ...architecture import AUTHORS_FLUX_LAYERS, Architecture, TokenSlices, last_layers
from .adapter import Adapter
from .block_call import BlockCall
from .network import network_of

TEMPLATE_TOKENS = 29  # of the chat template with the system prompt, before the user's first word


class Boogu(Adapter):
    supported = ("Boogu",)

    def matches(self, model: Any) -> bool:
        return isinstance(network_of(model), BooguTransformer2DModel)

    def describe(self, model: Any) -> Architecture:
        network = network_of(model)
        count = len(network.double_stream_layers)
        return Architecture(
            name="boogu",
            layer_count=count,
            text_width=network.time_caption_embed.caption_embedder[1].in_features,
            patch=network.patch_size,
            default_layers=last_layers(count, AUTHORS_FLUX_LAYERS),
            concept_position=TEMPLATE_TOKENS,
        )

    def joint_blocks(self, network: Any) -> nn.ModuleList:
        return network.double_stream_layers

    def token_slices(self, call: BlockCall, keys: int) -> TokenSlices:
        start = keys - call.arguments["img_hidden_states"].shape[1]
        return TokenSlices(image=slice(start, keys), target=slice(keys - call.tokens, keys))

    def project_concepts(self, network: Any, embeddings: Tensor, call: BlockCall) -> Tensor:
        """(1, C, D), each refined alone, as a prompt of one token, for which its position makes no difference."""
        concept = network.time_caption_embed.caption_embedder(embeddings).transpose(0, 1)
        for layer in network.context_refiner:
            concept = layer(concept, None, None)
        return concept.transpose(0, 1)

    def concept_qkv(self, block: Any, concept: Tensor, call: BlockCall) -> tuple[Tensor, Tensor, Tensor, Any]:
        temb = call.arguments["temb"][call.rows]
        instruct_norm1, gate_msa, scale_mlp, gate_mlp = block.instruct_norm1(concept, temb)
        instruct_norm2, shift_mlp, _, _ = block.instruct_norm2(concept, temb)
        mlp_input = (1 + scale_mlp.unsqueeze(1)) * instruct_norm2 + shift_mlp.unsqueeze(1)

        attn, processor = block.img_instruct_attn, block.img_instruct_attn.processor
        concept_q, concept_k, concept_v = (
            project(instruct_norm1).unflatten(-1, (-1, attn.dim_head))
            for project in (processor.instruct_to_q, processor.instruct_to_k, processor.instruct_to_v)
        )
        concept_q, concept_k = attn.norm_q(concept_q), attn.norm_k(concept_k)

        text = slice(0, call.arguments["instruct_hidden_states"].shape[1])
        pe = call.rotations(call.arguments["joint_rotary_emb"], 1, text)
        concept_q, concept_k = apply_rope1(concept_q, pe), apply_rope1(concept_k, pe)

        concept_q, concept_k, concept_v = (part.transpose(1, 2) for part in (concept_q, concept_k, concept_v))
        modulation = gate_msa.unsqueeze(1).tanh(), mlp_input, gate_mlp.unsqueeze(1).tanh()
        return concept_q, concept_k, concept_v, modulation

    def update_concepts(self, block: Any, concept: Tensor, concept_out: Tensor, modulation: Any) -> Tensor:
        gate_msa, mlp_input, gate_mlp = modulation
        attn = block.img_instruct_attn
        instruct_attn_out = attn.to_out[0](attn.processor.instruct_out(concept_out))
        concept = concept + gate_msa * block.instruct_attn_norm(instruct_attn_out)
        # The MLP's input is made of the tokens as they were before the attention.
        instruct_mlp_out = block.instruct_feed_forward(block.instruct_ffn_norm1(mlp_input))
        return concept + gate_mlp * block.instruct_ffn_norm2(instruct_mlp_out)
