"""Finishing masks: holes, islands, and growing."""

from __future__ import annotations

import math

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from ..errors import UserError


def fill_holes(masks: Tensor, percent: float) -> Tensor:
    """Fill the holes of masks that are smaller than a part of the image.

    Args:
        masks: (..., H, W), ones and zeros, float.
        percent: of the image's pixels, 0-100; 0 fills none, 100 all.

    Returns:
        Masks, same shape and dtype.

    Raises:
        UserError: if `percent` is out of range.

    Convention: a hole is an area of zeros, joined along sides, that does not touch the image's border.
    """
    _check_percent("Holes to fill", percent)
    return 1 - _without_small_parts(1 - masks, percent, corners=False, keep_at_border=True)


def drop_islands(masks: Tensor, percent: float) -> Tensor:
    """Remove the parts of masks that are smaller than a part of the image; see `fill_holes`.

    Convention: an island is an area of ones, joined along sides or at corners.
    """
    _check_percent("Islands to drop", percent)
    return _without_small_parts(masks, percent, corners=True, keep_at_border=False)


def grow_masks(masks: Tensor, pixels: int) -> Tensor:
    """Grow masks by a number of pixels in every direction, or shrink them.

    Args:
        masks: (..., H, W), float; every pixel becomes the highest value (shrinking: the lowest) of all pixels at a
            distance of at most `pixels` from it.
        pixels: below 0 shrinks.

    Returns:
        Masks, same shape and dtype. What lies beyond the image's border counts for nothing: a mask that reaches it
        does not shrink away from it.
    """
    return -_grow(-masks, -pixels) if pixels < 0 else _grow(masks, pixels)


def _grow(masks: Tensor, radius: int) -> Tensor:
    """The highest value within a disk, exactly: for every row of the disk, that of a window of its width."""
    height, width = masks.shape[-2:]
    powers = [F.pad(masks, (radius, radius), value=-math.inf)]  # highest values of windows of 1, 2, 4, ... pixels
    while 2 ** len(powers) <= 2 * radius + 1:
        last, half = powers[-1], 2 ** (len(powers) - 1)
        powers.append(torch.maximum(last[..., :-half], last[..., half:]))
    grown = masks.clone()
    for down in range(min(radius, height - 1) + 1):
        reach = math.isqrt(radius**2 - down**2)
        length = 2 * reach + 1
        power = length.bit_length() - 1
        windows, start = powers[power], radius - reach
        other = start + length - 2**power
        row = torch.maximum(windows[..., start : start + width], windows[..., other : other + width])
        for part, shifted in (
            (grown[..., down:, :], row[..., : height - down, :]),
            (grown[..., : height - down, :], row[..., down:, :]),
        ):
            torch.maximum(part, shifted, out=part)
    return grown


def _without_small_parts(masks: Tensor, percent: float, corners: bool, keep_at_border: bool) -> Tensor:
    """Ones and zeros without connected parts of fewer pixels than `percent` of the image."""
    from scipy import ndimage  # takes a third of a second

    if not percent:
        return masks
    height, width = masks.shape[-2:]
    kept = []
    for mask in masks.reshape(-1, height, width).cpu().numpy():
        labels, _ = ndimage.label(mask > 0, structure=np.ones((3, 3)) if corners else None)
        small = np.bincount(labels.ravel()) * 100 < percent * (height * width)
        small[0] = False  # not a part
        if keep_at_border:
            small[[*labels[0], *labels[-1], *labels[:, 0], *labels[:, -1]]] = False
        kept.append(torch.from_numpy(np.where(small[labels], 0, mask)))
    return torch.stack(kept).reshape(masks.shape).to(masks.device)


def _check_percent(what: str, percent: float) -> None:
    if not 0 <= percent <= 100:
        raise UserError(f"{what} are given in percent of the image, 0 to 100; got {percent}.")
