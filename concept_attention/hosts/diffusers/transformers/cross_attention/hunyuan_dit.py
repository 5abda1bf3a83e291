"""HunyuanDiT in diffusers.

Follows `HunyuanDiTBlock` of diffusers/models/transformers/hunyuan_transformer_2d.py (0.42). A prompt is read by two
text encoders, and the image attends to the tokens of both: so are concepts.
"""

from __future__ import annotations

from typing import Any

import torch
from diffusers import HunyuanDiT2DModel
from diffusers.models.transformers.hunyuan_transformer_2d import HunyuanDiTBlock
from torch import Tensor

from ....encoded import ConceptText
from ...watch import BlockCall
from .adapter import CrossAdapter

T5_TOKENS = "t5_tokens"  # in a concept's options: its own tokens from T5, (n, E)


class HunyuanDiT(CrossAdapter):
    """The adapter of HunyuanDiT."""

    name = "hunyuan_dit"
    transformer_class = HunyuanDiT2DModel
    block_class = HunyuanDiTBlock
    blocks = "blocks"
    width_name = "cross_attention_dim"

    def concept_tokens(self, transformer: Any, text: ConceptText, call: BlockCall) -> Tensor:
        t5 = text.options.get(T5_TOKENS)
        tokens = text.tokens
        return (tokens if t5 is None else torch.cat([tokens, transformer.text_embedder(t5.to(tokens))]))[None]
