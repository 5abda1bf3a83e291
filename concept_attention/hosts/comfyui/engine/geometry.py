"""Geometry of a run (tokens, pixels, frames) and the noise level of every step."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

from comfy.model_sampling import CONST, COSMOS_RFLOW

from ....heatmaps.resize import visible_share
from ...architecture import Architecture, frame_counts
from .regions import latent_to_tokens


class RunGeometry(NamedTuple):
    """Sizes of a run.

    Attributes:
        grid: tokens (T, H, W).
        image_size: pixels (height, width).
        covered_size: pixels that the grid covers, where they are more.
        frame_counts: frames that each T stands for; None if that is one each.
    """

    grid: tuple[int, int, int]
    image_size: tuple[int, int]
    covered_size: tuple[int, int] | None
    frame_counts: tuple[int, ...] | None

    @property
    def visible(self) -> tuple[float, float]:
        """Share (0-1] of the grid's height and width that lies in the image, see `Heatmaps`."""
        return visible_share(self.image_size, self.covered_size)


def measure_geometry(size: Sequence[int], architecture: Architecture, pixels: int) -> RunGeometry:
    """Geometry of a latent.

    Args:
        size: (B, T, H, W) in latent pixels.
        architecture: of the model.
        pixels: per latent pixel, in height and width.
    """
    patch = latent_pixels_per_token(architecture)
    grid = latent_to_tokens(size[1:], patch)
    image = (size[2] * pixels, size[3] * pixels)
    covered = (grid[1] * patch[1] * pixels, grid[2] * patch[2] * pixels)
    counts = None
    if architecture.frames_per_latent:
        per_latent, pattern = architecture.frames_per_latent, architecture.frame_pattern
        counts = frame_counts(size[1], architecture.frame_patch, per_latent, pattern)
    return RunGeometry(grid, image, None if covered == image else covered, counts if counts != (1,) * grid[0] else None)


def latent_pixels_per_token(architecture: Architecture) -> tuple[int, int, int]:
    """Latent pixels that a token covers, (T, H, W)."""
    return architecture.frame_patch, architecture.patch, architecture.patch


def same_shape(size: Sequence[int], other: Sequence[int]) -> bool:
    """Whether two latents, (B, T, H, W) in latent pixels, can show the same: one is the other, scaled."""
    factors = [after / before for before, after in zip(size[2:], other[2:], strict=True)]
    return size[:2] == other[:2] and max(factors) <= 1.05 * min(factors)  # sizes are rounded


def noise_level(model_sampling: Any, sigma: float) -> float:
    """Sigma of a model's own schedule as a noise level, 0 (clean) to 1 (noise).

    That is the noise's share: of the sum in flow models, otherwise of the standard deviation.
    """
    if isinstance(model_sampling, CONST):
        level = sigma
    elif isinstance(model_sampling, COSMOS_RFLOW):
        level = sigma / (1 + sigma)
    else:
        level = sigma / math.sqrt(1 + sigma * sigma) if math.isfinite(sigma) else 1.0
    return min(1.0, max(0.0, level))


def size_text(size: Sequence[int]) -> str:
    """(B, T, H, W) as width x height, with the frames of a video and the size of a batch."""
    batch, frames, rows, columns = size
    return f"{columns} x {rows}" + (f" x {frames}" if frames > 1 else "") + (f" in {batch}" if batch > 1 else "")
