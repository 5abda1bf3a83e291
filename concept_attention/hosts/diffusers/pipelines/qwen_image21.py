"""Qwen-Image 2.1's pipelines that make an image from a prompt alone."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from einops import rearrange
from torch import Tensor

from .latents import Latents
from .other import OtherFamily

SIDE = 32  # sides are multiples of so many pixels


def in_tokens(latents: Tensor, others: Mapping[str, Any]) -> Mapping[str, Any]:
    """(B, H * W, C), of one latent pixel each."""
    return {"hidden_states": rearrange(latents, "b c 1 h w -> b (h w) c")}


class QwenImage21Family(OtherFamily):
    """See `OtherFamily`."""

    def __init__(self) -> None:
        super().__init__(
            "Qwen-Image 2.1",
            ("QwenImage21Pipeline",),
            {"qwen-image-2.1": "Qwen/Qwen-Image-2.1"},
            latents=Latents(in_tokens),
            made_size=lambda pipeline, width, height: (width // SIDE * SIDE, height // SIDE * SIDE),
        )

    def for_vae(self, pixels: Tensor) -> Tensor:
        """With an alpha of one, as videos of one frame."""
        return torch.cat([pixels, torch.ones_like(pixels[:, :1])], dim=1)[:, :, None]
