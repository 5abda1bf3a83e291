"""Landscapes in another style than the models were trained on: as if drawn with crayons."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor

from ...heatmaps.resize import gaussian_blur
from .scenes import Scene

WOBBLE = 2.5, 6.0  # pixels that lines stray, and over which
STROKES = 14.0, 2.5, 0.6  # strength of the strokes (0-255), their length and their width in pixels
GRAIN = 6.0  # of the paper, 0-255
COLOUR, INK = 0.6, 0.8  # what is left of the colours' saturation, and of their distance to white


def crayon(scene: Scene) -> Scene:
    """The scene with wavy lines, strokes, paper and pale colours; its label map is bent with it.

    Args:
        scene: of one frame. The same scene always gives the same picture.
    """
    generator = torch.Generator().manual_seed(scene.seed)
    height, width = scene.labels.shape

    def noise(along: float = 0.0, across: float = 0.0) -> Tensor:
        """Noise of variance 1 with a blur along the width and one along the height, (H, W)."""
        values = torch.randn(height, width, generator=generator)
        values = gaussian_blur(values[:, None], along)[:, 0]
        values = gaussian_blur(values.T[:, None], across)[:, 0].T
        return values / values.std()

    stray, over = WOBBLE
    offsets = torch.stack([noise(over, over), noise(over, over)], dim=-1) * stray
    rows, columns = torch.arange(height)[:, None], torch.arange(width)
    places = torch.stack(torch.broadcast_tensors(columns, rows), dim=-1) + offsets
    places = (2 * places + 1) / torch.tensor([width, height]) - 1

    def bent(planes: np.ndarray, mode: str) -> Tensor:
        batch = torch.from_numpy(planes.copy()).float().reshape(height, width, -1)
        moved = F.grid_sample(
            rearrange(batch, "h w c -> 1 c h w"), places[None], mode, padding_mode="border", align_corners=False
        )
        return rearrange(moved, "1 c h w -> h w c")

    image = bent(scene.image, "bilinear")
    grey = image.mean(dim=-1, keepdim=True)
    pale = 255 - (255 - grey - COLOUR * (image - grey)) * INK
    strength, length, across = STROKES
    textured = pale + (strength * noise(length, across) + GRAIN * noise())[..., None]
    labels, parts = (bent(one, "nearest")[..., 0].to(torch.uint8).numpy() for one in (scene.labels, scene.parts))
    return replace(scene, image=textured.clamp(0, 255).to(torch.uint8).numpy(), labels=labels, parts=parts)
