"""HiDream-I1 in ComfyUI: full, dev and fast.

Phases follow `HiDreamImageTransformerBlock.forward` and `HiDreamAttnProcessor_flashattn` of comfy/ldm/hidream/model.py
(0.19 to 0.33), so the two can be diffed.

Convention: the image's tokens come first, row-major over 2x2 latent pixels, then the text's: T5, the last Llama layer,
and one more Llama layer that every block adds anew and drops again. Concepts are T5 words, which stay. All text has the
position (0, 0, 0), whose rotation is the identity.
"""

from __future__ import annotations

from typing import Any

from comfy.ldm.hidream.model import HiDreamImageTransformer2DModel
from torch import Tensor, nn

from ...architecture import AUTHORS_FLUX_LAYERS, Architecture, TokenSlices, last_layers
from .adapter import Adapter
from .block_call import BlockCall, check_one_text
from .network import network_of


class HiDream(Adapter):
    supported = ("HiDream-I1",)

    def matches(self, model: Any) -> bool:
        return isinstance(network_of(model), HiDreamImageTransformer2DModel)

    def describe(self, model: Any) -> Architecture:
        network = network_of(model)
        count = len(network.double_stream_blocks)
        return Architecture(
            name="hidream",
            layer_count=count,
            text_width=network.caption_projection[-1].linear.in_features,
            patch=network.patch_size,
            default_layers=last_layers(count, AUTHORS_FLUX_LAYERS),
        )

    def joint_blocks(self, network: Any) -> nn.ModuleList:
        return network.double_stream_blocks

    def token_slices(self, call: BlockCall, keys: int) -> TokenSlices:
        check_one_text(call.arguments["image_tokens"], call.arguments["text_tokens"])
        image = call.arguments["image_tokens"].shape[1]
        # HiDream-E1 sets a reference image beside the generated one. Its tokens lie between the rows of the generated
        # image, whose tokens then are no slice. A slice beyond the image reports that they were not found.
        start = 0 if image == call.tokens else image
        return TokenSlices(image=slice(0, image), target=slice(start, start + call.tokens))

    def project_concepts(self, network: Any, embeddings: Tensor, call: BlockCall) -> Tensor:
        return network.caption_projection[-1](embeddings)

    def concept_qkv(self, block: Any, concept: Tensor, call: BlockCall) -> tuple[Tensor, Tensor, Tensor, Any]:
        inner, attn = block.block, block.block.attn1
        modulation = inner.adaLN_modulation(call.arguments["adaln_input"][call.rows])[:, None]
        shift_msa_t, scale_msa_t, *rest = modulation.chunk(12, dim=-1)[6:]
        concept_modulated = inner.norm1_t(concept).to(concept.dtype) * (1 + scale_msa_t) + shift_msa_t

        heads = (attn.heads, -1)
        concept_q = attn.q_rms_norm_t(attn.to_q_t(concept_modulated)).to(concept.dtype).unflatten(-1, heads)
        concept_k = attn.k_rms_norm_t(attn.to_k_t(concept_modulated)).to(concept.dtype).unflatten(-1, heads)
        concept_v = attn.to_v_t(concept_modulated).unflatten(-1, heads)
        concept_q, concept_k, concept_v = (part.transpose(1, 2) for part in (concept_q, concept_k, concept_v))
        return concept_q, concept_k, concept_v, rest

    def update_concepts(self, block: Any, concept: Tensor, concept_out: Tensor, modulation: Any) -> Tensor:
        inner = block.block
        gate_msa_t, shift_mlp_t, scale_mlp_t, gate_mlp_t = modulation
        concept = gate_msa_t * inner.attn1.to_out_t(concept_out) + concept
        concept_modulated = inner.norm3_t(concept).to(concept.dtype) * (1 + scale_mlp_t) + shift_mlp_t
        return gate_mlp_t * inner.ff_t(concept_modulated) + concept
