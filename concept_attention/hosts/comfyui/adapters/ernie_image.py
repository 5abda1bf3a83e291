"""Ernie-Image in ComfyUI.

Phases follow `ErnieImageSharedAdaLNBlock.forward` and `ErnieImageAttention.forward` of comfy/ldm/ernie/model.py (0.33).
There is one stream: concepts go through the weights that text and image tokens share. ComfyUI hands the blocks no
options, so their attention is observed by the modules around it.

Convention: image tokens come first, row-major, then text tokens, which are rotated by their index.
Source: arXiv:2502.04320, Sec. 4.1, carried over to one stream; the authors have no such model.
"""

from __future__ import annotations

from typing import Any

import comfy.ldm.ernie.model
import comfy.quant_ops
from comfy.ldm.ernie.model import ErnieImageModel
from torch import Tensor, nn

from ...architecture import AUTHORS_FLUX_LAYERS, Architecture, TokenSlices, last_read_layers
from .adapter import Adapter
from .block_call import AttentionModules, BlockCall
from .network import network_of

if hasattr(comfy.ldm.ernie.model, "apply_rotary_emb"):  # an older ComfyUI, with other position embeddings
    raise ImportError("Ernie-Image needs a newer ComfyUI", name="comfy.ldm.ernie.model")


class ErnieImage(Adapter):
    supported = ("Ernie-Image",)

    def matches(self, model: Any) -> bool:
        return isinstance(network_of(model), ErnieImageModel)

    def describe(self, model: Any) -> Architecture:
        network = network_of(model)
        count = len(network.layers)
        return Architecture(
            name="ernie_image",
            layer_count=count,
            text_width=network.hidden_size if network.text_proj is None else network.text_proj.in_features,
            patch=network.patch_size,
            default_layers=last_read_layers(count, AUTHORS_FLUX_LAYERS),
            concept_position=1,  # behind the start token
        )

    def joint_blocks(self, network: Any) -> nn.ModuleList:
        return network.layers

    def attention_modules(self, block: Any) -> AttentionModules:
        attn = block.self_attention
        return AttentionModules(attn.to_q, attn.to_k, attn.to_v, attn.to_out[0], attn.heads)

    def finish_attention(self, block: Any, call: BlockCall, part: str, states: Tensor) -> Tensor:
        attn = block.self_attention
        norm = attn.norm_q if part == "queries" else attn.norm_k
        return _norm_and_rotate(norm, states, call.arguments["rotary_pos_emb"])

    def token_slices(self, call: BlockCall, keys: int) -> TokenSlices:
        return TokenSlices.image_first(call.tokens, call.tokens)

    def project_concepts(self, network: Any, embeddings: Tensor, call: BlockCall) -> Tensor:
        return embeddings if network.text_proj is None else network.text_proj(embeddings)

    def concept_qkv(self, block: Any, concept: Tensor, call: BlockCall) -> tuple[Tensor, Tensor, Tensor, Any]:
        shift_msa, scale_msa, *modulation = (call.select(part) for part in call.arguments["temb"])
        x_norm = block.adaLN_sa_ln(concept) * (1 + scale_msa) + shift_msa

        attn = block.self_attention
        concept_q, concept_k, concept_v = (
            project(x_norm).unflatten(-1, (attn.heads, -1)).transpose(1, 2)
            for project in (attn.to_q, attn.to_k, attn.to_v)
        )
        text = slice(call.tokens, call.arguments["x"].shape[1])
        pe = call.rotations(call.arguments["rotary_pos_emb"], 1, text)
        pe = pe.expand(-1, concept.shape[1], *[-1] * (pe.ndim - 2)).contiguous()
        concept_q, concept_k = (
            _norm_and_rotate(attn.norm_q, concept_q, pe),
            _norm_and_rotate(attn.norm_k, concept_k, pe),
        )
        return concept_q, concept_k, concept_v, modulation

    def update_concepts(self, block: Any, concept: Tensor, concept_out: Tensor, modulation: Any) -> Tensor:
        gate_msa, shift_mlp, scale_mlp, gate_mlp = modulation
        concept = concept + gate_msa * block.self_attention.to_out[0](concept_out)
        x_norm = block.adaLN_mlp_ln(concept) * (1 + scale_mlp) + shift_mlp
        return concept + gate_mlp * block.mlp(x_norm)


def _norm_and_rotate(norm: Any, states: Tensor, pe: Tensor) -> Tensor:
    """Queries or keys, (B, heads, N, head_dim), as they meet in the attention."""
    rotated: Tensor = comfy.quant_ops.ck.apply_rope_split_half1(norm(states.transpose(1, 2)), pe)
    return rotated.transpose(1, 2)
