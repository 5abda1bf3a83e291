"""Resizing, blurring and min-max stretching of maps: any tensor whose last two axes are (H, W)."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor

from ..errors import UserError

ROUNDING = 1e-6  # relative: float32 softmax, means and resizing leave differences of a few 1e-7 in a flat map


def resize_maps(values: Tensor, size: tuple[int, int], visible: tuple[float, float] = (1.0, 1.0)) -> Tensor:
    """Resize maps bilinearly, each on its own.

    Args:
        values: maps, (..., H, W), float.
        size: (height, width) wanted, in pixels.
        visible: fraction (0-1] of the maps' height and width, from the upper left, that lies in the image. The rest
            is cropped; the image's border is exact to half a pixel of the result.

    Returns:
        Maps, (..., height, width), same dtype, within the range of `values`; maps that sum to one still do.
        `values` itself if it already has that size and all of it is visible.

    Raises:
        UserError: if `size` is not two positive integers.
        ValueError: if `visible` is out of range.

    Convention: half-pixel centres (align_corners=False): sample i covers [i, i + 1) / H of the image, so an
    edge between two samples stays where it is. Shrinking averages (antialias), enlarging interpolates.
    """
    check_size(size)
    if not all(0 < share <= 1 for share in visible):
        raise ValueError(f"The visible fractions of a map are above 0 and at most 1, got {visible}.")
    whole = [max(wanted, round(wanted / share)) for wanted, share in zip(size, visible, strict=True)]
    if tuple(values.shape[-2:]) == tuple(whole):
        return values[..., : size[0], : size[1]] if whole != list(size) else values
    planes = rearrange(values, "... h w -> 1 (...) h w")
    resized = F.interpolate(planes, size=whole, mode="bilinear", align_corners=False, antialias=True)
    return resized[..., : size[0], : size[1]].reshape(*values.shape[:-2], *size)


def visible_share(image_size: tuple[int, int], covered_size: tuple[int, int] | None) -> tuple[float, float]:
    """The fraction (0-1] of the maps' height and width that lies in the image, see `resize_maps`.

    Args:
        image_size: (height, width) of the image.
        covered_size: (height, width) that the maps cover, from the image's upper left; None is the image's own.
    """
    (height, width), (rows, columns) = image_size, covered_size or image_size
    return height / rows, width / columns


def repeat_frames(values: Tensor, frame_counts: Sequence[int] | None) -> Tensor:
    """Repeat the map of every latent frame for each video frame it stands for.

    Args:
        values: (..., T, H, W).
        frame_counts: video frames of every T; None is one each.

    Returns:
        (..., F, H, W), F the sum of the counts; `values` itself without counts.

    Convention: no blending in between. A causal video VAE gives the first video frame a latent frame of its
    own, so a video of T latent frames has counts such as (1, 4, 4, ...).
    """
    if frame_counts is None:
        return values
    return values.repeat_interleave(torch.tensor(frame_counts, device=values.device), dim=-3)


def latent_frame_indices(frame_counts: Sequence[int]) -> tuple[int, ...]:
    """The T that each video frame belongs to, from how many video frames each T stands for."""
    return tuple(index for index, count in enumerate(frame_counts) for _ in range(count))


def gaussian_blur(
    values: Tensor,
    sigma: float,
    radius: int | None = None,
    padding: Literal["replicate", "reflect"] = "replicate",
) -> Tensor:
    """Blur maps with a Gaussian cut off at `radius` and normalised to one.

    Args:
        values: maps, (..., H, W), float.
        sigma: standard deviation in pixels, 0 or more; 0 returns `values` itself.
        radius: pixels on each side of the centre, ceil(3 sigma) unless given.
        padding: what lies beyond the border, as in `torch.nn.functional.pad`.

    Returns:
        Maps, (..., H, W), same dtype.

    Raises:
        UserError: if `sigma` is negative or not finite.
    """
    if not (math.isfinite(sigma) and sigma >= 0):
        raise UserError(f"Blur is a standard deviation in pixels, 0 or more; got {sigma}. 0 does not blur.")
    if sigma == 0:
        return values
    radius = math.ceil(3 * sigma) if radius is None else radius
    offsets = torch.arange(-radius, radius + 1, dtype=values.dtype, device=values.device)
    kernel = torch.softmax(-((offsets / sigma) ** 2) / 2, dim=0)
    planes = rearrange(values, "... h w -> (...) 1 h w")
    rows = F.conv2d(F.pad(planes, (radius, radius, 0, 0), mode=padding), rearrange(kernel, "k -> 1 1 1 k"))
    both = F.conv2d(F.pad(rows, (0, 0, radius, radius), mode=padding), rearrange(kernel, "k -> 1 1 k 1"))
    return both.reshape(values.shape)


def stretch(values: Tensor) -> Tensor:
    """Min-max `values` as a whole to 0-1; zeros if they are flat."""
    if is_flat(values):
        return torch.zeros_like(values)
    low, high = values.aminmax()
    return (values - low) / (high - low)


def is_flat(values: Tensor) -> bool:
    """Whether `values` differ by no more than rounding does."""
    low, high = values.aminmax()
    return bool(high - low <= rounding(values))


def rounding(values: Tensor) -> Tensor:
    """Difference, on the scale of `values`, that float32 arithmetic alone can make (a scalar tensor)."""
    return ROUNDING * values.abs().amax()


def check_size(size: tuple[int, int]) -> None:
    """Check that a size is (height, width) in positive integers; a UserError says what is wrong."""
    if len(size) != 2 or not all(isinstance(n, int) and n > 0 for n in size):
        raise UserError(f"A size is (height, width) in pixels, two positive integers; got {size}.")
