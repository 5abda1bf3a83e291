"""EasyAnimate 5.1 and ConsisID in diffusers.

Arguments are those of the blocks' `forward` in diffusers/models/transformers/transformer_easyanimate.py and
consisid_transformer_3d.py (0.42).

Convention: text tokens come first, without a position, then the video's, frame by frame, row-major over 2x2 latent
pixels.
Source: arXiv:2502.04320, Sec. 4, which has CogVideoX.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from diffusers import ConsisIDTransformer3DModel, EasyAnimateTransformer3DModel
from diffusers.models.transformers.consisid_transformer_3d import ConsisIDBlock
from diffusers.models.transformers.transformer_easyanimate import EasyAnimateTransformerBlock
from torch import Tensor

from ...architecture import Architecture
from ..named import Arguments
from ..watch import BlockCall
from .own_block import TwoStreamAdapter

FRAMES_PER_LATENT = 4  # of both VAEs


class EasyAnimate(TwoStreamAdapter):
    """The adapter of EasyAnimate."""

    name = "easyanimate"
    transformer_class = EasyAnimateTransformer3DModel
    block_class = EasyAnimateTransformerBlock
    text_output = 1

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
        return transformer.text_proj(embeddings)

    def position_arguments(self, concept: Tensor, call: BlockCall) -> dict[str, Any]:
        turns = call.arguments["image_rotary_emb"]
        return {"image_rotary_emb": turns and tuple(part[: self.along] for part in turns)}


class ConsisID(EasyAnimate):
    """The adapter of ConsisID, made of CogVideoX."""

    name = "consisid"
    transformer_class = ConsisIDTransformer3DModel
    block_class = ConsisIDBlock

    def target_grid(self, transformer: Any, arguments: Arguments) -> tuple[int, int, int]:
        _, frames, _, height, width = arguments["hidden_states"].shape
        patch = transformer.config.patch_size
        return frames, height // patch, width // patch

    def project_concepts(self, transformer: Any, embeddings: Tensor, call: BlockCall) -> Tensor:
        return transformer.patch_embed.text_proj(embeddings)
