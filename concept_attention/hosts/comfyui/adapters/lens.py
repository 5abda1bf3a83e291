"""Microsoft Lens in ComfyUI.

Phases follow `LensTransformerBlock.forward` and `LensJointAttention` in comfy/ldm/lens/model.py (0.33).

Convention: the image's tokens come first, row-major, then the text's. A latent pixel is a token: the channels hold 2x2
pixels of the VAE's latent.
Source: arXiv:2502.04320, Sec. 4. Concepts take the position of a prompt's first token, which is rotated by its index.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from comfy.ldm.flux.math import apply_rope
from comfy.ldm.lens.model import LensTransformer2DModel
from torch import Tensor, nn

from ...architecture import AUTHORS_FLUX_LAYERS, Architecture, TokenSlices, last_read_layers
from .adapter import Adapter
from .block_call import BlockCall
from .network import network_of


class Lens(Adapter):
    supported = ("Lens",)

    def matches(self, model: Any) -> bool:
        return isinstance(network_of(model), LensTransformer2DModel)

    def describe(self, model: Any) -> Architecture:
        network = network_of(model)
        count = len(network.transformer_blocks)
        return Architecture(
            name="lens",
            layer_count=count,
            text_width=network.txt_in.in_features,
            patch=1,
            default_layers=last_read_layers(count, AUTHORS_FLUX_LAYERS),
        )

    def joint_blocks(self, network: Any) -> nn.ModuleList:
        return network.transformer_blocks

    def token_slices(self, call: BlockCall, keys: int) -> TokenSlices:
        return TokenSlices.image_first(call.arguments["hidden_states"].shape[1], call.tokens)

    def conditioning_modules(self, network: Any) -> Mapping[str, nn.Module]:
        """What tells the positions of the text tokens."""
        return {"image": network.img_in, "positions": network.pos_embed}

    def prepare(self, network: Any, call: BlockCall) -> Tensor:
        """Rotations of the text's positions, (1, 1, L, head_dim / 2, 2, 2): of the first one if the prompt is empty.

        An empty prompt has no tokens here. The first text position is the one after the largest of the image's.
        """
        (ids,) = call.calls["positions"].arguments
        text = ids[:, call.calls["image"].output.shape[1] :]
        return network.pos_embed(text if text.shape[1] else ids.amax(dim=(1, 2), keepdim=True).expand(-1, -1, 3) + 1)

    def project_concepts(self, network: Any, embeddings: Tensor, call: BlockCall) -> Tensor:
        """(1, C, D). E is the width of one layer of the text encoder, or of several side by side with a norm each."""
        if not network.multi_layer_encoder_feature:
            return network.txt_in(network.txt_norm(embeddings))
        layers = zip(network.txt_norm, embeddings.chunk(len(network.txt_norm), dim=-1), strict=True)
        return network.txt_in(torch.cat([norm(layer) for norm, layer in layers], dim=-1))

    def concept_qkv(self, block: Any, concept: Tensor, call: BlockCall) -> tuple[Tensor, Tensor, Tensor, Any]:
        txt_mod1, txt_mod2 = block.txt_mod(call.arguments["temb"][call.rows]).chunk(2, dim=-1)

        txt_modulated, txt_gate1 = block._modulate(block.txt_norm1(concept), txt_mod1)
        attn = block.attn
        concept_q, concept_k, concept_v = attn.txt_qkv(txt_modulated).unflatten(-1, (3, attn.heads, -1)).unbind(dim=2)
        concept_q, concept_k = attn.norm_added_q(concept_q), attn.norm_added_k(concept_k)

        concept_q, concept_k, concept_v = (part.transpose(1, 2) for part in (concept_q, concept_k, concept_v))
        pe = call.rotations(call.prepared, 2, slice(0, call.prepared.shape[2]))
        concept_q, concept_k = apply_rope(concept_q, concept_k, pe)
        return concept_q, concept_k, concept_v, (txt_gate1, txt_mod2)

    def update_concepts(self, block: Any, concept: Tensor, concept_out: Tensor, modulation: Any) -> Tensor:
        txt_gate1, txt_mod2 = modulation
        concept = concept + txt_gate1 * block.attn.to_add_out(concept_out)
        txt_modulated2, txt_gate2 = block._modulate(block.txt_norm2(concept), txt_mod2)
        return concept + txt_gate2 * block.txt_mlp(txt_modulated2)
