"""Mochi 1 in diffusers.

Arguments are those of `MochiTransformerBlock.forward` of diffusers/models/transformers/transformer_mochi.py (0.42). Its
attention is called row by row, without the prompt's padding.

Convention: the video's tokens come first, frame by frame, row-major over 2x2 latent pixels, then the prompt's, which
have no position and are narrower.
Source: arXiv:2502.04320, Sec. 4.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import torch
from diffusers import MochiTransformer3DModel
from diffusers.models.transformers.transformer_mochi import MochiTransformerBlock
from torch import Tensor

from ...architecture import Architecture
from ..named import Arguments
from ..watch import BlockCall
from .own_block import TwoStreamAdapter

FRAMES_PER_LATENT = 6  # of the only VAE there is


class Mochi(TwoStreamAdapter):
    """The adapter of Mochi."""

    name = "mochi"
    transformer_class = MochiTransformer3DModel
    block_class = MochiTransformerBlock
    text_output = 1
    text_first = False

    def describe(self, transformer: Any) -> Architecture:
        patch = transformer.config.patch_size
        return replace(super().describe(transformer), patch=patch, frames_per_latent=FRAMES_PER_LATENT)

    def text_width(self, transformer: Any) -> int:
        return int(transformer.config.text_embed_dim)

    def target_grid(self, transformer: Any, arguments: Arguments) -> tuple[int, int, int]:
        _, _, frames, height, width = arguments["hidden_states"].shape
        patch = transformer.config.patch_size
        return frames, height // patch, width // patch

    def project_concepts(self, transformer: Any, embeddings: Tensor, call: BlockCall) -> Tensor:
        return transformer.time_embed.caption_proj(embeddings)

    def position_arguments(self, concept: Tensor, call: BlockCall) -> dict[str, Any]:
        everything = torch.ones(concept.shape[:2], dtype=torch.bool, device=concept.device)
        turns = tuple(part[: self.along] for part in call.arguments["image_rotary_emb"])
        return {"image_rotary_emb": turns, "encoder_attention_mask": everything}
