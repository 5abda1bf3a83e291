"""Wan 2.1 and 2.2 in diffusers, VACE, SkyReels 2 and ChronoEdit, which are made of the same blocks.

Follows `WanTransformerBlock` and `WanAttnProcessor` of diffusers/models/transformers/transformer_wan.py (0.42). The
image that an image-to-video model attends to besides the text has keys of its own, which are not read.

Convention: image tokens are frame by frame, row-major.
"""

from __future__ import annotations

from typing import Any

import torch.nn.functional as F
from diffusers import (
    ChronoEditTransformer3DModel,
    SkyReelsV2Transformer3DModel,
    WanTransformer3DModel,
    WanVACETransformer3DModel,
)
from diffusers.models.transformers.transformer_chronoedit import WanTransformerBlock as ChronoEditTransformerBlock
from diffusers.models.transformers.transformer_skyreels_v2 import SkyReelsV2TransformerBlock
from diffusers.models.transformers.transformer_wan import WanTransformerBlock
from torch import Tensor

from ....reasons import NotRecordable
from ...named import Arguments
from ...watch import BlockCall
from .adapter import CrossAdapter

TEXT_TOKENS = 512  # that Wan's attention takes for text where an image comes before it


class Wan(CrossAdapter):
    """The adapter of Wan."""

    name = "wan"
    transformer_class = (
        WanTransformer3DModel,
        WanVACETransformer3DModel,
        SkyReelsV2Transformer3DModel,
        ChronoEditTransformer3DModel,
    )
    block_class = (WanTransformerBlock, SkyReelsV2TransformerBlock, ChronoEditTransformerBlock)
    blocks = "blocks"
    width_name = "text_dim"
    projection = "condition_embedder.text_embedder"
    frames_per_latent = 4

    def is_text(self, call: BlockCall, given: Arguments, keys: int) -> bool:
        tokens = given[self.text_argument].shape[1]
        return keys == (TEXT_TOKENS if _sees_image(self.attention(call.block)) else tokens)

    def concept_arguments(self, module: Any, tokens: Tensor, call: BlockCall, given: Arguments) -> dict[str, Any]:
        if _sees_image(module):
            if tokens.shape[1] > TEXT_TOKENS:
                raise NotRecordable(f"the concepts have {tokens.shape[1]} tokens, and the model takes {TEXT_TOKENS}")
            tokens = F.pad(tokens, (0, 0, 0, TEXT_TOKENS - tokens.shape[1]))
        return super().concept_arguments(module, tokens, call, given)


def _sees_image(module: Any) -> bool:
    return module.add_k_proj is not None
