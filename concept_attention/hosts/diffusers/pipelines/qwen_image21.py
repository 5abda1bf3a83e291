"""Qwen-Image 2.1's pipelines that make an image from a prompt alone."""

from __future__ import annotations

import torch
from torch import Tensor

from .latents import Latents, as_tokens
from .other import OtherFamily

SIDE = 32  # sides are multiples of so many pixels


class QwenImage21Family(OtherFamily):
    """See `OtherFamily`."""

    def __init__(self) -> None:
        super().__init__(
            "Qwen-Image 2.1",
            ("QwenImage21Pipeline",),
            {"qwen-image-2.1": "Qwen/Qwen-Image-2.1"},
            latents=Latents(as_tokens),
            made_size=lambda pipeline, width, height: (width // SIDE * SIDE, height // SIDE * SIDE),
        )

    def for_vae(self, pixels: Tensor) -> Tensor:
        """With an alpha of one, as videos of one frame."""
        return torch.cat([pixels, torch.ones_like(pixels[:, :1])], dim=1)[:, :, None]
