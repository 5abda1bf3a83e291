"""HiDream-I1 in diffusers: full, dev and fast.

Arguments are those of `HiDreamImageTransformerBlock.forward` of diffusers/models/transformers/
transformer_hidream_image.py (0.42).

Convention: the image's tokens come first, row-major over 2x2 latent pixels, padded at the end if it is not square, then
the text's: T5, the last Llama layer, and one more Llama layer that every block adds anew and drops again. Concepts are
T5 words, which stay. All text has the position (0, 0, 0).
"""

from __future__ import annotations

from typing import Any

import torch
from diffusers import HiDreamImageTransformer2DModel
from diffusers.models.transformers.transformer_hidream_image import HiDreamImageTransformerBlock
from torch import Tensor

from ...reasons import NotRecordable
from ..named import Arguments
from ..watch import BlockCall
from .own_block import TwoStreamAdapter, at_positions


class HiDream(TwoStreamAdapter):
    """The adapter of HiDream-I1."""

    name = "hidream"
    transformer_class = HiDreamImageTransformer2DModel
    block_class = HiDreamImageTransformerBlock
    blocks = "double_stream_blocks"
    text_output = 1
    text_first = False
    text_goes_on = True
    chained = False  # the tokens of a Llama layer are added between

    def text_width(self, transformer: Any) -> int:
        return int(transformer.caption_projection[-1].linear.in_features)

    def target_grid(self, transformer: Any, arguments: Arguments) -> tuple[int, int, int]:
        if arguments["hidden_states"].ndim != 4:
            raise NotRecordable("HiDream-E1, whose reference lies between the rows of the image, is not supported")
        *_, height, width = arguments["hidden_states"].shape
        patch = transformer.config.patch_size
        return 1, height // patch, width // patch

    def project_concepts(self, transformer: Any, embeddings: Tensor, call: BlockCall) -> Tensor:
        return transformer.caption_projection[-1](embeddings)

    def position_arguments(self, concept: Tensor, call: BlockCall) -> dict[str, Any]:
        turns = call.select(call.arguments["image_rotary_emb"])
        text = at_positions(turns, 1, turns.shape[1] - 1, concept)
        return {"image_rotary_emb": torch.cat([turns[:, : self.along], text], dim=1), "hidden_states_masks": None}
