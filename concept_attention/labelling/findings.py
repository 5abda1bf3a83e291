"""From the heatmaps of a picture to what is found in it: masks, boxes, and how surely a concept is there."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from ..heatmaps.heatmaps import Heatmaps
from ..heatmaps.masks import make_masks
from ..heatmaps.summary import summarise
from .items import Finding
from .settings import MaskSettings

HALF = 128  # of the grey levels of a mask: what counts for areas, boxes and outlines


class Maps(NamedTuple):
    """Shares of one picture at token resolution, and how surely each concept is in it, 0-1; see `presences`."""

    heatmaps: Heatmaps
    presence: Mapping[str, float]


def find(maps: Maps, settings: MaskSettings) -> tuple[tuple[Finding, ...], np.ndarray]:
    """What is found in one picture.

    Args:
        maps: of the picture.
        settings: the method of the masks, and the least presence.

    Returns:
        The findings of the concepts that are present, and the mask of all of them together, (H, W) uint8, 0-255.
    """
    heatmaps, presence = maps
    names = [name for name in settings.names if presence[name] >= settings.min_presence]
    if not names:
        return (), np.zeros(heatmaps.image_size, np.uint8)
    resized = heatmaps.resized()  # once, not for every mask
    mask = _winning(resized) if settings.mask == "argmax" and not settings.blur else _made(resized, settings)
    findings = tuple(finding(name, presence[name], mask([name])) for name in names)
    return findings, findings[0].mask if len(names) == 1 else mask(names)


def presences(heatmaps: Heatmaps, scores: Sequence[float] | None = None) -> dict[str, float]:
    """How surely each concept is in the picture, 0-1; 0 for one that wins no token.

    Args:
        heatmaps: shares of one picture, at token resolution.
        scores: its `presence_scores`; without them the greatest share stands for a score.
    """
    found = summarise(heatmaps)
    scores = [one.peak_share for one in found] if scores is None else scores
    return {one.name: 0.0 if one.absent else score for one, score in zip(found, scores, strict=True)}


def finding(name: str, presence: float, mask: np.ndarray) -> Finding:
    """The finding of a mask, (H, W) uint8.

    >>> finding("dog", 1.0, np.array([[0, 255, 255, 0]], np.uint8)).box
    (1, 0, 2, 1)
    """
    inside = mask >= HALF
    rows, columns = np.flatnonzero(inside.any(axis=1)), np.flatnonzero(inside.any(axis=0))
    box = None
    if len(rows):
        top, left = int(rows[0]), int(columns[0])
        box = (left, top, int(columns[-1]) - left + 1, int(rows[-1]) - top + 1)
    return Finding(name, presence, float(inside.mean()), box, mask)


def grey_levels(mask: Tensor) -> np.ndarray:
    """A mask, (H, W), 0-1, as uint8, 0-255."""
    return (mask * 255).round().byte().numpy()


def _made(heatmaps: Heatmaps, settings: MaskSettings) -> Callable[[Sequence[str]], np.ndarray]:
    """The mask of concepts taken together, by any method."""
    options = {name: getattr(settings, name) for name in ("threshold", "percentile", "blur")}
    return lambda names: grey_levels(make_masks(heatmaps, names, settings.mask, **options)[0])


def _winning(heatmaps: Heatmaps) -> Callable[[Sequence[str]], np.ndarray]:
    """As `_made` by argmax. Who has the highest share is looked up once and not for every mask."""
    shares = heatmaps.values[0]
    highest = shares == shares.amax(dim=0)  # several where they are level
    count = highest.sum(dim=0, dtype=torch.uint8)

    def mask(names: Sequence[str]) -> np.ndarray:
        own = highest[[heatmaps.index(name) for name in names]].sum(dim=0, dtype=torch.uint8)
        return ((own == count).byte() * 255).numpy()

    return mask
