"""HunyuanDiT's pipelines."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import torch

from ....choices import Pooling, Reader
from ....concepts import Concept
from ...encoded import EncodedConcepts
from ..networks import network_of
from ..transformers.cross_attention.hunyuan_dit import T5_TOKENS
from .other import OtherFamily
from .own_encoder import encode_as_prompts


class HunyuanDiTFamily(OtherFamily):
    """HunyuanDiT, whose image attends to the tokens of two text encoders."""

    def __init__(self) -> None:
        super().__init__(
            "HunyuanDiT",
            ("HunyuanDiTPipeline",),
            {"hunyuan-dit": "Tencent-Hunyuan/HunyuanDiT-v1.2-Diffusers"},
            guidance_in_batch=True,
            usual={"max_sequence_length": 77},
            always={"use_resolution_binning": False},  # the size is that which is asked for
        )

    def encode_concepts(
        self, pipeline: Any, concepts: Sequence[Concept], pooling: Pooling, max_tokens: int, reader: Reader
    ) -> EncodedConcepts:
        encoded = super().encode_concepts(pipeline, concepts, pooling, max_tokens, reader)
        if getattr(pipeline, "text_encoder_2", None) is None:
            return encoded
        width = network_of(pipeline).config.cross_attention_dim_t5
        with torch.no_grad():
            t5 = encode_as_prompts(
                pipeline, pipeline.tokenizer_2, concepts, pooling, max_tokens, width, text_encoder_index=1
            )
        pairs = zip(encoded.texts, t5.texts, strict=True)
        texts = tuple(replace(text, options={T5_TOKENS: other.tokens}) for text, other in pairs)
        return replace(encoded, texts=texts)
