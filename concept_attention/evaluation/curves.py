"""Measures over thresholds, along edges and on thin parts: boundary F, best F1, calibration error, ..."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor


def boundary_f(prediction: Tensor, truth: Tensor, tolerance: int) -> float:
    """F1 of the boundary pixels of two masks that lie within `tolerance` pixels of one another's.

    Args:
        prediction, truth: (H, W) bool.
        tolerance: pixels, in both directions of both axes (a square).

    Returns:
        0-1; nan if the truth has no boundary.

    Convention: a boundary pixel lies in the mask and has a neighbour to its side, above or below that does not; the
    image's border is no boundary.
    Source: the F measure of Perazzi et al., DAVIS 2016, with a square in place of its disk.
    """
    found, wanted = _boundary(prediction), _boundary(truth)
    if not wanted.any():
        return math.nan
    if not found.any():
        return 0.0
    precision = float((found & _grown(wanted, tolerance)).sum() / found.sum())
    recall = float((wanted & _grown(found, tolerance)).sum() / wanted.sum())
    return 2 * precision * recall / (precision + recall) if precision + recall else 0.0


def thin_iou(prediction: Tensor, truth: Tensor, part: Tensor, reach: int) -> float:
    """Intersection over union of a mask and a thin part of the truth, in the part's neighbourhood.

    Args:
        prediction, truth: (H, W) bool.
        part: (H, W) bool, some of the truth, with a pixel or more.
        reach: pixels around the part, in both directions of both axes. The rest of the truth does not count.
    """
    near = prediction & _grown(part, reach) & ~(truth & ~part)
    return float((near & part).sum() / (near | part).sum())


def best_f1(scores: Tensor, truth: Tensor) -> float:
    """Greatest F1 of all thresholds of float scores, 0-1; nan without a positive. Equal scores are one threshold."""
    ranked, order = scores.detach().flatten().sort(descending=True)
    true = truth.flatten()[order].double()
    if not true.any():
        return math.nan
    last_of_tie = torch.ones_like(ranked, dtype=torch.bool)
    last_of_tie[:-1] = ranked[:-1] != ranked[1:]
    f1 = 2 * true.cumsum(0) / (torch.arange(1, len(ranked) + 1) + true.sum())
    return float(f1[last_of_tie].max())


def calibration_error(shares: Tensor, truth: Tensor, bins: int = 15) -> float:
    """Mean difference of share and frequency over bins of equal width, weighted by pixels, 0-1.

    Args:
        shares: (...), 0-1; truth: same shape, bool.

    Source: Guo et al., On Calibration of Modern Neural Networks, ICML 2017, eq. 3.
    """
    shares, truth = shares.flatten().double(), truth.flatten().double()
    places = (shares * bins).ceil().long().sub(1).clamp(0, bins - 1)
    gaps = torch.bincount(places, shares - truth, minlength=bins)
    return float(gaps.abs().sum() / len(shares))


def area_under_roc(positive: Tensor, negative: Tensor) -> float:
    """Probability that a positive's score exceeds a negative's, ties counting half; nan without either.

    Args:
        positive, negative: (n,) and (m,), float.
    """
    if not len(positive) or not len(negative):
        return math.nan
    ordered = negative.sort().values.contiguous()
    below = torch.searchsorted(ordered, positive.contiguous(), right=False)
    up_to = torch.searchsorted(ordered, positive.contiguous(), right=True)
    return float((below + up_to).double().mean() / 2 / len(negative))


def _boundary(mask: Tensor) -> Tensor:
    inner = mask.clone()
    inner[1:] &= mask[:-1]
    inner[:-1] &= mask[1:]
    inner[:, 1:] &= mask[:, :-1]
    inner[:, :-1] &= mask[:, 1:]
    return mask & ~inner


def _grown(mask: Tensor, pixels: int) -> Tensor:
    return F.max_pool2d(mask[None, None].float(), 2 * pixels + 1, 1, pixels)[0, 0] > 0
