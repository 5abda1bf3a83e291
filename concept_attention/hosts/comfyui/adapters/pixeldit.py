"""PixelDiT in ComfyUI, which works on pixels: its patch blocks; and PiD, the decoder made of it.

Phases follow `MMDiTBlockT2I.forward` and `MMDiTJointAttention` in comfy/ldm/pixeldit/model.py (0.33).

Convention: text tokens come first, then the image's, row-major over patches of 16 by 16 pixels.
Source: arXiv:2502.04320, Sec. 4. Concepts take the position of a prompt's first word, in the learned position embedding
and in the rotation.
"""

from __future__ import annotations

from typing import Any

import torch
from comfy.ldm.flux.math import apply_rope
from comfy.ldm.pixeldit.model import PixDiT_T2I
from comfy.ldm.pixeldit.modules import apply_adaln_
from torch import Tensor, nn

from ...architecture import AUTHORS_FLUX_LAYERS, Architecture, TokenSlices, last_read_layers
from .adapter import Adapter
from .block_call import BlockCall
from .network import network_of

FIRST_WORD = 1  # its position: the model keeps the text's first token and the last 299, which begin with that word


class PixelDiT(Adapter):
    supported = ("PiD", "PixelDiT")

    def matches(self, model: Any) -> bool:
        return isinstance(network_of(model), PixDiT_T2I)

    def describe(self, model: Any) -> Architecture:
        network = network_of(model)
        count = len(network.patch_blocks)
        return Architecture(
            name="pixeldit",
            layer_count=count,
            text_width=network.txt_embed_dim,
            patch=network.patch_size,
            default_layers=last_read_layers(count, AUTHORS_FLUX_LAYERS),
            concept_position=FIRST_WORD,
        )

    def joint_blocks(self, network: Any) -> nn.ModuleList:
        return network.patch_blocks

    def token_slices(self, call: BlockCall, keys: int) -> TokenSlices:
        return TokenSlices.text_first(call.arguments["x"].shape[1], keys, call.tokens)

    def project_concepts(self, network: Any, embeddings: Tensor, call: BlockCall) -> Tensor:
        position = network.y_pos_embedding[:, FIRST_WORD : FIRST_WORD + 1]
        concept = network.y_embedder(embeddings)
        return concept + position.to(concept)

    def concept_qkv(self, block: Any, concept: Tensor, call: BlockCall) -> tuple[Tensor, Tensor, Tensor, Any]:
        shift_msa_y, scale_msa_y, *rest = block.adaLN_modulation_txt(call.arguments["c"][call.rows]).chunk(6, dim=-1)

        y_norm = apply_adaln_(block.norm_y1(concept), shift_msa_y, scale_msa_y)
        attn = block.attn
        qkv_y = attn.qkv_y(y_norm).unflatten(-1, (3, attn.num_heads, attn.head_dim)).permute(2, 0, 3, 1, 4)
        concept_q, concept_k, concept_v = qkv_y.unbind(0)
        concept_q, concept_k = attn.q_norm_y(concept_q), attn.k_norm_y(concept_k)

        pos_txt = call.arguments.get("pos_txt")
        if pos_txt is not None:
            pe = call.rotations(pos_txt[None, None], 2, slice(0, len(pos_txt)))
            concept_q, concept_k = apply_rope(concept_q, concept_k, pe)
        return concept_q, concept_k, concept_v, rest

    def update_concepts(self, block: Any, concept: Tensor, concept_out: Tensor, modulation: Any) -> Tensor:
        gate_msa_y, shift_mlp_y, scale_mlp_y, gate_mlp_y = modulation
        concept = torch.addcmul(concept, gate_msa_y, block.attn.proj_y(concept_out))
        y_norm = apply_adaln_(block.norm_y2(concept), shift_mlp_y, scale_mlp_y)
        return torch.addcmul(concept, gate_mlp_y, block.mlp_y(y_norm))
