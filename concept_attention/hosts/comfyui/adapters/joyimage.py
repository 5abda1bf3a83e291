"""JoyImage (JoyAI-Image, Edit) in ComfyUI.

Phases follow `JoyImageTransformerBlock.forward` and `JoyImageAttention` in comfy/ldm/joyimage/model.py (0.33).

Convention: the image's tokens come first, row-major, then those of reference images, then the text's, which have no
position.
Source: arXiv:2502.04320, Sec. 4.
"""

from __future__ import annotations

from typing import Any

from comfy.ldm.joyimage.model import JoyImageTransformer3DModel
from torch import Tensor, nn

from ...architecture import AUTHORS_FLUX_LAYERS, Architecture, TokenSlices, last_read_layers
from .adapter import Adapter
from .block_call import BlockCall
from .network import network_of


class JoyImage(Adapter):
    supported = ("JoyImage",)

    def matches(self, model: Any) -> bool:
        return isinstance(network_of(model), JoyImageTransformer3DModel)

    def describe(self, model: Any) -> Architecture:
        network = network_of(model)
        count = len(network.double_blocks)
        return Architecture(
            name="joyimage",
            layer_count=count,
            text_width=network.condition_embedder.text_embedder.linear_1.in_features,
            patch=network.patch_size[1],
            default_layers=last_read_layers(count, AUTHORS_FLUX_LAYERS),
            frame_patch=network.patch_size[0],
        )

    def joint_blocks(self, network: Any) -> nn.ModuleList:
        return network.double_blocks

    def token_slices(self, call: BlockCall, keys: int) -> TokenSlices:
        return TokenSlices.image_first(call.arguments["hidden_states"].shape[1], call.tokens)

    def project_concepts(self, network: Any, embeddings: Tensor, call: BlockCall) -> Tensor:
        return network.condition_embedder.text_embedder(embeddings)

    def concept_qkv(self, block: Any, concept: Tensor, call: BlockCall) -> tuple[Tensor, Tensor, Tensor, Any]:
        mods = [mod.unsqueeze(1) for mod in block.txt_mod(call.arguments["temb"][call.rows])]
        txt_mod1_shift, txt_mod1_scale, *rest = mods

        txt_modulated = block.txt_norm1(concept) * (1 + txt_mod1_scale) + txt_mod1_shift
        attn = block.attn
        concept_q, concept_k, concept_v = (
            part.unflatten(-1, (attn.num_attention_heads, -1))
            for part in attn.txt_attn_qkv(txt_modulated).chunk(3, dim=-1)
        )
        concept_q, concept_k = attn.txt_attn_q_norm(concept_q), attn.txt_attn_k_norm(concept_k)

        concept_q, concept_k, concept_v = (part.transpose(1, 2) for part in (concept_q, concept_k, concept_v))
        return concept_q, concept_k, concept_v, rest

    def update_concepts(self, block: Any, concept: Tensor, concept_out: Tensor, modulation: Any) -> Tensor:
        txt_mod1_gate, txt_mod2_shift, txt_mod2_scale, txt_mod2_gate = modulation
        concept = concept + block.attn.txt_attn_proj(concept_out) * txt_mod1_gate
        txt_ffn_input = block.txt_norm2(concept) * (1 + txt_mod2_scale) + txt_mod2_shift
        return concept + block.txt_mlp(txt_ffn_input) * txt_mod2_gate
