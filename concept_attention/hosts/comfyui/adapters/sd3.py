"""Stable Diffusion 3 and 3.5 in ComfyUI: medium, large, large turbo and their fine-tunes.

Phases follow `_block_mixing` of comfy/ldm/modules/diffusionmodules/mmdit.py (0.19 to 0.33), so the two can be diffed.
The last block's text path ends with its attention. In 3.5 medium some blocks have a second one, of the image alone.

Convention: text tokens come first, then the image's, row-major over 2x2 latent pixels. Text has no positions.
Source: the authors' SD3 code, whose concepts have the prompt's modulation. There the image tokens that are scored
attend to the concepts in place of the prompt; here, as in arXiv:2502.04320, Sec. 4, to the prompt.
"""

from __future__ import annotations

from typing import Any

from comfy.ldm.modules.diffusionmodules.mmdit import MMDiT
from torch import Tensor, nn

from ...architecture import Architecture, TokenSlices
from .adapter import Adapter
from .block_call import BlockCall, check_one_text
from .network import network_of


class SD3(Adapter):
    two_streams = True
    supported = ("Stable Diffusion 3", "Stable Diffusion 3.5")

    def matches(self, model: Any) -> bool:
        """No published model has a context processor, in which the prompt's tokens attend to each other once more."""
        network = network_of(model)
        return isinstance(network, MMDiT) and network.context_processor is None

    def describe(self, model: Any) -> Architecture:
        network = network_of(model)
        count = len(network.joint_blocks)
        return Architecture(
            name="sd3",
            layer_count=count,
            text_width=network.context_embedder.in_features,
            patch=network.patch_size,
            default_layers=tuple(range(count)),  # as in the authors' code
            largest_side=network.pos_embed_max_size or 0,
        )

    def joint_blocks(self, network: Any) -> nn.ModuleList:
        return network.joint_blocks

    def token_slices(self, call: BlockCall, keys: int) -> TokenSlices:
        context, x = call.arguments["args"]
        check_one_text(x, context)
        return TokenSlices.text_first(x.shape[1], keys, call.tokens)

    def text_tokens(self, call: BlockCall) -> Tensor:
        context, _ = call.arguments["args"]
        return context

    def project_concepts(self, network: Any, embeddings: Tensor, call: BlockCall) -> Tensor:
        return network.context_embedder(embeddings)

    def concept_qkv(self, block: Any, concept: Tensor, call: BlockCall) -> tuple[Tensor, Tensor, Tensor, Any]:
        """The modulation is None in the last block, which does not update its text."""
        context_block = block.context_block
        concept_qkv, intermediates = context_block.pre_attention(concept, call.arguments["c"][call.rows])
        heads = (*concept.shape[:2], context_block.attn.num_heads, -1)
        concept_q, concept_k, concept_v = (part.reshape(heads).transpose(1, 2) for part in concept_qkv)
        return concept_q, concept_k, concept_v, intermediates

    def update_concepts(self, block: Any, concept: Tensor, concept_out: Tensor, modulation: Any) -> Tensor:
        return block.context_block.post_attention(concept_out, *modulation)
