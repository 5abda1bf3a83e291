"""Qwen-Image in ComfyUI: text to image, Edit, Layered and their fine-tunes; and Mage-Flow, made of the same blocks.

Phases follow `QwenImageTransformerBlock.forward` and its `Attention` in comfy/ldm/qwen_image/model.py (0.19 to 0.33).

Convention: text tokens come first, then the image's tokens, row-major (in Layered image layer by image layer), then
those of reference images.
Source: arXiv:2502.04320, Sec. 4. Concepts take the position of a prompt's first token, which is rotated by its index.
"""

from __future__ import annotations

from typing import Any

import torch
from comfy.ldm.flux.math import apply_rope1
from comfy.ldm.qwen_image.model import QwenImageTransformer2DModel, QwenImageTransformerBlock
from torch import Tensor, nn

from ...architecture import AUTHORS_FLUX_LAYERS, Architecture, TokenSlices, last_read_layers
from .adapter import Adapter
from .block_call import BlockCall
from .network import eager, network_of


class QwenImage(Adapter):
    two_streams = True
    supported = ("Mage-Flow", "Qwen-Image")

    def matches(self, model: Any) -> bool:
        """Known by the blocks, which Mage-Flow shares; packs that load quantised weights replace them by their own."""
        first = next(iter(getattr(network_of(model), "transformer_blocks", ())), None)
        return isinstance(eager(first), QwenImageTransformerBlock)

    def describe(self, model: Any) -> Architecture:
        network = network_of(model)
        count = len(network.transformer_blocks)
        return Architecture(
            name="qwen_image" if isinstance(network, QwenImageTransformer2DModel) else "mage_flow",
            layer_count=count,
            text_width=network.txt_in.in_features,
            patch=network.patch_size,
            default_layers=last_read_layers(count, AUTHORS_FLUX_LAYERS),
        )

    def joint_blocks(self, network: Any) -> nn.ModuleList:
        return network.transformer_blocks

    def text_tokens(self, call: BlockCall) -> Tensor:
        return call.arguments["encoder_hidden_states"]

    def token_slices(self, call: BlockCall, keys: int) -> TokenSlices:
        return TokenSlices.text_first(call.arguments["hidden_states"].shape[1], keys, call.tokens)

    def project_concepts(self, network: Any, embeddings: Tensor, call: BlockCall) -> Tensor:
        return network.txt_in(network.txt_norm(embeddings))

    def concept_qkv(self, block: Any, concept: Tensor, call: BlockCall) -> tuple[Tensor, Tensor, Tensor, Any]:
        temb = call.arguments["temb"]
        if call.arguments.get("timestep_zero_index") is not None:
            temb = temb.chunk(2, dim=0)[0]  # the other half is that of timestep 0, for reference images
        txt_mod1, txt_mod2 = block.txt_mod(temb[call.rows]).chunk(2, dim=-1)

        txt_modulated, txt_gate1 = block._modulate(block.txt_norm1(concept), txt_mod1)
        attn = block.attn
        concept_q, concept_k, concept_v = (
            project(txt_modulated).unflatten(-1, (attn.heads, -1)).transpose(1, 2)
            for project in (attn.add_q_proj, attn.add_k_proj, attn.add_v_proj)
        )
        concept_q, concept_k = attn.norm_added_q(concept_q), attn.norm_added_k(concept_k)

        text = slice(0, call.arguments["encoder_hidden_states"].shape[1])
        pe = call.rotations(call.arguments["image_rotary_emb"], 2, text)
        concept_q, concept_k = apply_rope1(concept_q, pe), apply_rope1(concept_k, pe)
        return concept_q, concept_k, concept_v, (txt_gate1, txt_mod2)

    def update_concepts(self, block: Any, concept: Tensor, concept_out: Tensor, modulation: Any) -> Tensor:
        txt_gate1, txt_mod2 = modulation
        concept = concept + txt_gate1 * block.attn.to_add_out(concept_out)
        txt_modulated2, txt_gate2 = block._modulate(block.txt_norm2(concept), txt_mod2)
        return torch.addcmul(concept, txt_gate2, block.txt_mlp(txt_modulated2))
