"""Resizing, blurring and levelling of maps, whatever they mean: any tensor whose last two axes are (H, W)."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor

ROUNDING = 1e-6  # relative: float32 softmax, means and resizing leave differences of a few 1e-7 in a flat map


def resize_maps(values: Tensor, size: tuple[int, int], visible: tuple[float, float] = (1.0, 1.0)) -> Tensor:
    """Resize maps bilinearly, each on its own.

    Args:
        values: maps, (..., H, W), float.
        size: (height, width) wanted, in pixels.
        visible: share (0-1] of the maps' height and width, from the upper left, that lies in the picture. The rest
            is cut off; the picture's border is exact to half a pixel of the result.

    Returns:
        Maps, (..., height, width), same dtype, within the range of `values`; maps that sum to one still do.
        `values` itself if it already has that size and all of it is visible.

    Raises:
        ValueError: if `size` is not two positive whole numbers, or `visible` out of range.

    Convention: half-pixel centres (align_corners=False): sample i covers [i, i + 1) / H of the picture, so an
    edge between two samples stays where it is. Shrinking averages (antialias), enlarging interpolates.
    """
    check_size(size)
    if not all(0 < share <= 1 for share in visible):
        raise ValueError(f"The visible shares of a map are above 0 and at most 1, got {visible}.")
    whole = [max(wanted, round(wanted / share)) for wanted, share in zip(size, visible, strict=True)]
    if tuple(values.shape[-2:]) == tuple(whole):
        return values[..., : size[0], : size[1]] if whole != list(size) else values
    planes = rearrange(values, "... h w -> 1 (...) h w")
    resized = F.interpolate(planes, size=whole, mode="bilinear", align_corners=False, antialias=True)
    return resized[..., : size[0], : size[1]].reshape(*values.shape[:-2], *size)


def visible_share(image_size: tuple[int, int], covered_size: tuple[int, int] | None) -> tuple[float, float]:
    """Share (0-1] of the height and width that maps cover which lies in the picture, as `resize_maps` takes it.

    Args:
        image_size: (height, width) of the picture.
        covered_size: that of the maps, beginning at the picture's upper left; None is the picture's own.
    """
    (height, width), (rows, columns) = image_size, covered_size or image_size
    return height / rows, width / columns


def repeat_frames(values: Tensor, frame_counts: Sequence[int] | None) -> Tensor:
    """Maps per latent frame as maps per picture frame: each is repeated for the picture frames it stands for.

    Args:
        values: (..., T, H, W).
        frame_counts: picture frames of every T; None is one each.

    Returns:
        (..., F, H, W), F the sum of the counts; `values` itself if there are none.

    Convention: nothing is blended in between. A causal video VAE gives the first picture frame a latent frame of its
    own, so a video of T latent frames has counts such as (1, 4, 4, ...).
    """
    if frame_counts is None:
        return values
    return values.repeat_interleave(torch.tensor(frame_counts, device=values.device), dim=-3)


def frame_places(frame_counts: Sequence[int]) -> tuple[int, ...]:
    """For every picture frame the T it belongs to, where every T stands for so many picture frames."""
    return tuple(place for place, count in enumerate(frame_counts) for _ in range(count))


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
        ValueError: if `sigma` is negative or not finite.
    """
    if not (math.isfinite(sigma) and sigma >= 0):
        raise ValueError(f"Blur is a standard deviation in pixels, 0 or more; got {sigma}. 0 does not blur.")
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
    """Refuse a picture size that is not (height, width) in whole, positive pixels."""
    if len(size) != 2 or not all(isinstance(n, int) and n > 0 for n in size):
        raise ValueError(f"A size is (height, width) in pixels, two positive whole numbers; got {size}.")
