"""AuraFlow in ComfyUI: 0.1 to 0.3 and fine-tunes such as Pony V7.

Phases follow `DoubleAttention.forward` and `MMDiTBlock.forward` of comfy/ldm/aura/mmdit.py (0.19 to 0.33), so the two
can be diffed.

Convention: eight register tokens come first, then the prompt's, then the image's, row-major over 2x2 latent pixels.
Text has no positions. Register tokens count as text, because they read the prompt from the first block on: concepts do
not attend to them.
"""

from __future__ import annotations

from typing import Any

from comfy.ldm.aura.mmdit import MMDiT, modulate
from torch import Tensor, nn

from ...architecture import AUTHORS_FLUX_LAYERS, Architecture, TokenSlices, last_layers
from .adapter import Adapter
from .block_call import BlockCall
from .network import network_of


class AuraFlow(Adapter):
    supported = ("AuraFlow",)

    def matches(self, model: Any) -> bool:
        return isinstance(network_of(model), MMDiT)

    def describe(self, model: Any) -> Architecture:
        network = network_of(model)
        count = len(network.double_layers)
        return Architecture(
            name="auraflow",
            layer_count=count,
            text_width=network.cond_seq_linear.in_features,
            patch=network.patch_size,
            default_layers=last_layers(count, AUTHORS_FLUX_LAYERS),
        )

    def joint_blocks(self, network: Any) -> nn.ModuleList:
        return network.double_layers

    def token_slices(self, call: BlockCall, keys: int) -> TokenSlices:
        return TokenSlices.text_first(call.arguments["x"].shape[1], keys, call.tokens)

    def project_concepts(self, network: Any, embeddings: Tensor, call: BlockCall) -> Tensor:
        return network.cond_seq_linear(embeddings)

    def concept_qkv(self, block: Any, concept: Tensor, call: BlockCall) -> tuple[Tensor, Tensor, Tensor, Any]:
        attn = block.attn
        shift_msa, scale_msa, *rest = block.modC(call.arguments["global_cond"][call.rows]).chunk(6, dim=1)
        concept_modulated = modulate(block.normC1(concept), shift_msa, scale_msa)

        heads = (attn.n_heads, attn.head_dim)
        concept_q = attn.q_norm1(attn.w1q(concept_modulated).unflatten(-1, heads)).transpose(1, 2)
        concept_k = attn.k_norm1(attn.w1k(concept_modulated).unflatten(-1, heads)).transpose(1, 2)
        concept_v = attn.w1v(concept_modulated).unflatten(-1, heads).transpose(1, 2)
        return concept_q, concept_k, concept_v, rest

    def update_concepts(self, block: Any, concept: Tensor, concept_out: Tensor, modulation: Any) -> Tensor:
        gate_msa, shift_mlp, scale_mlp, gate_mlp = modulation
        attended = block.normC2(concept + gate_msa.unsqueeze(1) * block.attn.w1o(concept_out))
        return concept + gate_mlp.unsqueeze(1) * block.mlpC(modulate(attended, shift_mlp, scale_mlp))
