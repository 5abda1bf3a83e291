"""What is measured of one picture, and the figures of many: pooled counts, means, and bootstrap intervals."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

RESAMPLES = 1000
Figures = dict[str, float]


@dataclass(frozen=True, eq=False)
class Measured:
    """Of one picture.

    Attributes:
        id: of the picture.
        word: what it shows, where that is one thing; else "".
        counts: pixels by name, each an array that is added up over pictures.
        values: figures whose mean over pictures counts; nan is left out.
    """

    id: str
    word: str = ""
    counts: Mapping[str, np.ndarray] = field(default_factory=dict)
    values: Mapping[str, float] = field(default_factory=dict)


Pooled = Callable[[Mapping[str, np.ndarray]], Figures]


@dataclass(frozen=True)
class Estimate:
    """A figure with the interval that 95 % of its bootstrap resamples lie in; nan where it is undefined."""

    value: float
    low: float
    high: float


def estimates(pictures: Sequence[Measured], pooled: Pooled, seed: int = 0) -> dict[str, Estimate]:
    """Every figure of a set of pictures, with its interval over pictures drawn anew with replacement.

    Args:
        pictures: one or more.
        pooled: makes figures of the counts, summed over pictures.
        seed: of the resamples.

    Source: Efron: Bootstrap methods, 1979 (percentile interval, 1,000 resamples).
    """
    whole = np.ones((1, len(pictures)))
    draws = np.random.default_rng(seed).multinomial(len(pictures), np.full(len(pictures), 1 / len(pictures)), RESAMPLES)
    value, spread = (_figures(pictures, pooled, weights) for weights in (whole, draws))
    return {name: Estimate(float(value[name][0]), *_interval(spread[name])) for name in value}


def _figures(pictures: Sequence[Measured], pooled: Pooled, weights: np.ndarray) -> dict[str, np.ndarray]:
    """Every figure under each row of weights, (R, pictures)."""
    sums = {}
    for name in pictures[0].counts:
        table = np.stack([picture.counts[name] for picture in pictures]).astype(np.float64)
        sums[name] = (weights @ table.reshape(len(pictures), -1)).reshape(len(weights), *table.shape[1:])
    rows = [pooled({name: table[row] for name, table in sums.items()}) for row in range(len(weights))]
    found = {name: np.array([row[name] for row in rows]) for name in rows[0]}
    for name in dict.fromkeys(name for picture in pictures for name in picture.values):
        values = np.array([picture.values.get(name, math.nan) for picture in pictures])
        known = np.isfinite(values)
        counted = weights @ known
        with np.errstate(invalid="ignore"):
            found[name] = np.where(counted > 0, weights @ np.where(known, values, 0) / counted, math.nan)
    return found


def _interval(values: np.ndarray) -> tuple[float, float]:
    known = values[np.isfinite(values)]
    return (math.nan, math.nan) if not len(known) else tuple(float(v) for v in np.percentile(known, [2.5, 97.5]))  # type: ignore[return-value]


def mean_iou(right: np.ndarray, either: np.ndarray) -> float:
    """Mean over the classes that occur in truth or prediction; nan without any."""
    shown = either > 0
    return float((right[shown] / either[shown]).mean()) if shown.any() else math.nan


def ratio(part: float | np.ndarray, whole: float | np.ndarray) -> float:
    return float(part) / float(whole) if whole else math.nan
