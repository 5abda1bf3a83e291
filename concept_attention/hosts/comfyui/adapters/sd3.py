"""Stable Diffusion 3 and 3.5 in ComfyUI: medium, large, large turbo and their fine-tunes.

Phases follow `_block_mixing` of comfy/ldm/modules/diffusionmodules/mmdit.py (0.19 to 0.33), so the two can be diffed.
The last block's text path ends with its attention. In 3.5 medium some blocks have a second one, of the image alone.

Convention: text tokens come first, then the picture's tokens, row-major over 2x2 latent cells. Text has no positions.
Source: the authors' SD3 code, whose concepts have the prompt's modulation. There the image tokens that are scored look
at the concepts in place of the prompt; here, as in arXiv:2502.04320, Sec. 4, at the prompt.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from comfy.ldm.modules.diffusionmodules.mmdit import MMDiT
from torch import Tensor, nn

from .... import attention
from ...architecture import Architecture, TokenSlices
from . import adapter
from .block_call import BlockCall, ModuleCall, Rows
from .network import network

SUPPORTED = ("Stable Diffusion 3", "Stable Diffusion 3.5")


def matches(model: Any) -> bool:
    """No published model has a context processor, which lets the words of a prompt read each other once more."""
    mmdit = network(model)
    return isinstance(mmdit, MMDiT) and mmdit.context_processor is None


def describe(model: Any) -> Architecture:
    """All layers are the default: so it is in the authors' code."""
    mmdit = network(model)
    count = len(mmdit.joint_blocks)
    return Architecture(
        name="sd3",
        joint_blocks=count,
        heads=mmdit.num_heads,
        head_dim=mmdit.hidden_size // mmdit.num_heads,
        text_width=mmdit.context_embedder.in_features,
        patch=mmdit.patch_size,
        default_layers=tuple(range(count)),
    )


def joint_blocks(mmdit: Any) -> nn.ModuleList:
    return mmdit.joint_blocks


def token_slices(call: BlockCall, keys: int, tokens: int) -> TokenSlices:
    _, x = call.arguments["args"]
    return TokenSlices.text_first(x.shape[1], keys, tokens)


conditioning_modules = adapter.conditioning_modules
concept_modulation = adapter.concept_modulation


def project_concepts(mmdit: Any, embeddings: Tensor, calls: Mapping[str, ModuleCall], rows: Rows) -> Tensor:
    """Text encoder embeddings (1, C, E) to block-0 concept tokens, (1, C, D)."""
    return mmdit.context_embedder(embeddings)


def attend_concepts(
    block: Any,
    concept: Tensor,
    vec: None,
    image_k: Tensor,
    image_v: Tensor,
    call: BlockCall,
    key_bias: Tensor | None = None,
) -> tuple[Tensor, Any]:
    """Of a `JointBlock`; see `Adapter`. The rest is None in the last block, which does not update its text."""
    context_block = block.context_block
    concept_qkv, intermediates = context_block.pre_attention(concept, call.arguments["c"][call.rows])
    heads = (*concept.shape[:2], context_block.attn.num_heads, -1)
    concept_q, concept_k, concept_v = (part.reshape(heads).transpose(1, 2) for part in concept_qkv)

    concept_out = attention.attend_concepts(concept_q, concept_k, concept_v, image_k, image_v, key_bias=key_bias)
    return concept_out, intermediates


def update_concepts(block: Any, concept: Tensor, concept_out: Tensor, intermediates: Any) -> Tensor:
    """The rest of the block's text path: projection, gate and MLP. (B, C, D) to (B, C, D)."""
    return block.context_block.post_attention(concept_out, *intermediates)
