"""Qwen-Image in diffusers: text to image, Edit, Layered and their fine-tunes.

Arguments are those of `QwenImageTransformerBlock.forward` of diffusers/models/transformers/transformer_qwenimage.py
(0.42).

Convention: text tokens come first, then the image's, row-major (in Layered image layer by image layer), then those of
reference images.
Source: arXiv:2502.04320, Sec. 4. Concepts take the position of a prompt's first token, which is rotated by its index.
"""

from __future__ import annotations

from typing import Any

import torch
from diffusers import QwenImageTransformer2DModel
from diffusers.models.transformers.transformer_qwenimage import QwenImageTransformerBlock
from torch import Tensor

from ..named import Arguments
from ..watch import BlockCall
from .own_block import TwoStreamAdapter, at_positions


class QwenImage(TwoStreamAdapter):
    """The adapter of Qwen-Image."""

    name = "qwen_image"
    transformer_class = QwenImageTransformer2DModel
    block_class = QwenImageTransformerBlock

    def text_width(self, transformer: Any) -> int:
        return int(transformer.txt_in.in_features)

    def target_grid(self, transformer: Any, arguments: Arguments) -> tuple[int, int, int]:
        shapes = arguments["img_shapes"][0]
        shapes = shapes if isinstance(shapes, list) else [shapes]
        frames, rows, columns = shapes[0]
        layers = len(shapes) - 1 if transformer.config.use_layer3d_rope else 1  # the last is the image that is parted
        return int(frames) * layers, int(rows), int(columns)

    def project_concepts(self, transformer: Any, embeddings: Tensor, call: BlockCall) -> Tensor:
        return transformer.txt_in(transformer.txt_norm(embeddings))

    def position_arguments(self, concept: Tensor, call: BlockCall) -> dict[str, Any]:
        given, temb = call.arguments, call.arguments["temb"]
        image_turns, text_turns = given["image_rotary_emb"]
        own: dict[str, Any] = {"image_rotary_emb": (image_turns[: self.along], at_positions(text_turns, 0, 0, concept))}
        if given.get("modulate_index") is not None:  # the second half of `temb` is that of timestep 0
            own["temb"] = torch.cat([call.select(half) for half in temb.chunk(2)])
            own["modulate_index"] = call.select(given["modulate_index"])[:, : self.along]
        return own
