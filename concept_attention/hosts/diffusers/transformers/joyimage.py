"""JoyImage (JoyAI-Image, Edit) and JoyImage Edit Plus in diffusers.

Arguments are those of the blocks' `forward` in diffusers/models/transformers/transformer_joyimage.py and
transformer_joyimage_edit_plus.py (0.42).

Convention: the image's tokens come first, row-major, then those of reference images, then the text's, which in most
models have no position.
Source: arXiv:2502.04320, Sec. 4.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from diffusers import JoyImageEditPlusTransformer3DModel, JoyImageEditTransformer3DModel
from diffusers.models.transformers.transformer_joyimage import JoyImageTransformerBlock
from diffusers.models.transformers.transformer_joyimage_edit_plus import JoyImageEditPlusTransformerBlock
from torch import Tensor

from ...architecture import Architecture
from ...reasons import NotRecordable
from ..named import Arguments
from ..watch import BlockCall
from .own_block import TwoStreamAdapter, at_positions


class JoyImage(TwoStreamAdapter):
    """The adapter of JoyImage."""

    name = "joyimage"
    transformer_class = JoyImageEditTransformer3DModel
    block_class = JoyImageTransformerBlock
    blocks = "double_blocks"
    text_output = 1
    text_first = False

    def describe(self, transformer: Any) -> Architecture:
        frame_patch, patch, _ = transformer.config.patch_size
        return replace(super().describe(transformer), patch=patch, frame_patch=frame_patch)

    def text_width(self, transformer: Any) -> int:
        return int(transformer.config.text_dim)

    def target_grid(self, transformer: Any, arguments: Arguments) -> tuple[int, int, int]:
        """Of several items, which are images, the last is made; its tokens come first."""
        frames, height, width = arguments["hidden_states"].shape[-3:]
        frame_patch, patch, _ = transformer.patch_size
        return frames // frame_patch, height // patch, width // patch

    def project_concepts(self, transformer: Any, embeddings: Tensor, call: BlockCall) -> Tensor:
        return transformer.condition_embedder.text_embedder(embeddings)

    def position_arguments(self, concept: Tensor, call: BlockCall) -> dict[str, Any]:
        image, text = call.arguments["image_rotary_emb"]
        image = tuple(part[: self.along] for part in image)
        return {"image_rotary_emb": (image, text and tuple(at_positions(part, 0, 0, concept) for part in text))}


class JoyImageEditPlus(JoyImage):
    """The adapter of JoyImage Edit Plus, whose reference images have sizes of their own."""

    name = "joyimage_edit_plus"
    transformer_class = JoyImageEditPlusTransformer3DModel
    block_class = JoyImageEditPlusTransformerBlock

    def target_grid(self, transformer: Any, arguments: Arguments) -> tuple[int, int, int]:
        shapes = arguments["shape_list"]
        if any(one != shapes[0] for one in shapes):
            raise NotRecordable("the images of the batch have reference images of other sizes: make them one by one")
        frames, rows, columns = shapes[0][0]
        return int(frames), int(rows), int(columns)

    def position_arguments(self, concept: Tensor, call: BlockCall) -> dict[str, Any]:
        turns = (call.select(part)[:, : self.along] for part in call.arguments["image_rotary_emb"])
        return {"image_rotary_emb": tuple(turns)}
