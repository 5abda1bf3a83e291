"""Latte's pipelines that make a video from a prompt alone, whose frames are encoded one by one."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from ....errors import UserError
from ..networks import network_of
from .other import OtherFamily
from .request import Layout


class LatteFamily(OtherFamily):
    """See `OtherFamily`."""

    def __init__(self) -> None:
        super().__init__(
            "Latte",
            ("LattePipeline",),
            {"latte": "maxin-cn/Latte-1"},
            video=True,
            guidance_in_batch=True,
            always={"clean_caption": False},  # a prompt is what the user wrote
        )

    def layout(self, pipeline: Any, width: int, height: int, frames: int) -> Layout:
        made = network_of(pipeline).config.video_length
        if frames not in (1, made):
            raise UserError(f"Latte makes videos of {made} frames, or of one, got {frames}. Ask for that many.")
        return super().layout(pipeline, width, height, frames)

    def for_vae(self, pixels: Tensor) -> Tensor:
        return pixels

    def encode_images(self, pipeline: Any, pixels: Tensor) -> Tensor:
        return super().encode_images(pipeline, pixels).movedim(0, 1)[None]
