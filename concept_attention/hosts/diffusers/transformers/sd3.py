"""Stable Diffusion 3 and 3.5 in diffusers: medium, large, large turbo and their fine-tunes.

Phases follow `JointTransformerBlock.forward` and `JointAttnProcessor2_0.__call__` of diffusers/models/attention.py and
attention_processor.py (0.42), so they can be diffed. The last block's text path ends with its attention. In 3.5 medium
some blocks have a second attention, of the image alone.

Convention: image tokens come first, row-major over 2x2 latent patches, then text tokens. Text has no positions.
Source: the authors' SD3 code, whose concepts have the prompt's modulation. There the image tokens that are scored look
at the concepts in place of the prompt; here, as in arXiv:2502.04320, Sec. 4, at the prompt.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from diffusers import SD3Transformer2DModel
from diffusers.models.attention import JointTransformerBlock
from diffusers.models.attention_processor import FusedJointAttnProcessor2_0
from torch import Tensor

from ...architecture import Architecture
from .adapter import Heads
from .text_path import BlockArguments, Modulation, TextPathAdapter, project_text


class SD3(TextPathAdapter):
    """The adapter of Stable Diffusion 3 and 3.5."""

    name = "sd3"
    transformer_class = SD3Transformer2DModel
    block_class = JointTransformerBlock
    fused_processor = FusedJointAttnProcessor2_0

    def describe(self, transformer: Any) -> Architecture:
        config = transformer.config
        return replace(
            super().describe(transformer), patch=config.patch_size, largest_side=config.pos_embed_max_size or 0
        )

    def default_layers(self, layer_count: int) -> tuple[int, ...]:
        """All, as in the authors' code."""
        return tuple(range(layer_count))

    def target_grid(self, transformer: Any, arguments: Mapping[str, Any]) -> tuple[int, int, int]:
        *_, height, width = arguments["hidden_states"].shape
        patch = transformer.config.patch_size
        return 1, height // patch, width // patch

    def normalises_keys(self, block: Any) -> bool:
        """Only 3.5 has norms, and the model's own fused processor leaves them out."""
        return super().normalises_keys(block) and not self.is_fused(block)

    def image_slice(self, block_arguments: BlockArguments) -> slice:
        return slice(0, block_arguments["hidden_states"].shape[1])

    def modulate_concepts(
        self, block: Any, concept: Tensor, vec: None, block_arguments: BlockArguments
    ) -> tuple[Tensor, Modulation | None]:
        temb = block_arguments["temb"][-len(concept) :]
        if block.context_pre_only:  # the last block, whose text path ends here
            return block.norm1_context(concept, temb), None
        concept_norm, *modulation = block.norm1_context(concept, emb=temb)
        return concept_norm, Modulation(*(part.unsqueeze(1) for part in modulation))

    def concept_heads(self, block: Any, concept_norm: Tensor) -> Heads:
        attn = block.attn
        heads = project_text(attn, concept_norm, self.is_fused(block))
        if self.normalises_keys(block):
            return Heads(attn.norm_added_q(heads.q), attn.norm_added_k(heads.k), heads.v)
        return heads
