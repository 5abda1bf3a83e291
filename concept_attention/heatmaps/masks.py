"""Masks from heatmaps: where a concept is, 0 to 1."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from ..choices import METHODS, Method, check_choice
from ..errors import UserError
from .finish import drop_islands, fill_holes, grow_masks
from .heatmaps import Heatmaps
from .resize import gaussian_blur, is_flat, repeat_frames, resize_maps, rounding

RELATIVE: tuple[Method, ...] = ("mean", "otsu", "percentile")  # cut a map at a level found in the map itself
_BINS = 2**16  # of the histogram that `otsu_level` begins with
_CHUNK = 2**20  # values it looks at a time


def make_masks(
    heatmaps: Heatmaps,
    concepts: str | Sequence[str],
    method: Method = "soft",
    *,
    threshold: float = 0.5,
    percentile: float = 90.0,
    blur: float = 0.0,
    size: tuple[int, int] | None = None,
    per_frame: bool = False,
    subtract: str | Sequence[str] = (),
    holes: float = 0.0,
    islands: float = 0.0,
    grow: int = 0,
    device: str | torch.device = "cpu",
) -> Tensor:
    """Make one mask per image for a concept, or for several taken together.

    Heatmaps are resized first and thresholded there, so that edges lie where they belong. The shares of
    several concepts are summed, of their presence the greatest is taken; under `argmax` it is enough that any of them
    wins. Every image of the batch is treated on its own, all frames of a video together.

    Args:
        heatmaps: of kind `share` or `presence`; `mean`, `otsu` and `percentile` take any kind.
        concepts: name or names of the concepts wanted.
        method: `soft`, the share or presence itself; `threshold`, where it is above `threshold`; `argmax`, where it
            is above that of every other concept and background (nobody wins a tie); `mean`, map above its own mean (the
            paper's evaluation rule); `otsu`, map above the level that maximises the variance between the two
            sides, found exactly, every split of the values tried; `percentile`, map at or above its
            `percentile` and above its minimum. The last three compare a map with itself: they find something
            in any map that is not flat, even if the concept is absent, and nothing in a flat one.
        threshold: level for `threshold`, 0-1.
        percentile: level for `percentile`, 0-100: 90 keeps the highest tenth.
        blur: standard deviation in pixels of a Gaussian over the finished mask, 0 or more.
        size: (height, width) of the masks in pixels; the image's own unless given.
        per_frame: of a video, repeat the mask of every T for each video frame it stands for.
        subtract: name or names of concepts whose mask, made in the same way, is taken away.
        holes: fill holes smaller than this, in percent of the image, 0-100; not for `soft`, which has no edge.
        islands: drop parts smaller than this, in percent of the image, 0-100; not for `soft`.
        grow: pixels to grow the mask by, after that; below 0 shrinks it. Blurring is last.
        device: where to compute; the result is on the CPU, and that of the CPU to 1e-4.

    Returns:
        Masks, (B, height, width), or for video (B, T, height, width), with `per_frame` (B, F, height, width) for its
        F video frames; float32 in [0, 1].

    Raises:
        UserError: for unknown or missing names, a name that is both wanted and subtracted, an unknown method, numbers
            out of range, or a kind of heatmap the method is not defined for.

    >>> from concept_attention import make_heatmaps
    >>> from concept_attention.recording.example import example_recording
    >>> make_masks(make_heatmaps(example_recording()), "house", "argmax", size=(4, 6))[0].int().tolist()
    [[0, 0, 0, 0, 0, 0], [0, 0, 1, 1, 0, 0], [0, 0, 1, 1, 0, 0], [0, 0, 0, 0, 0, 0]]
    """
    _check_options(heatmaps, method, threshold, percentile)
    chosen, taken = (_positions(heatmaps, names) for names in (concepts, subtract))
    if not chosen:
        raise UserError(f"No concept to mask. Name at least one of {_names(heatmaps)}.")
    both = [heatmaps.concepts[position].name for position in chosen if position in taken]
    if both:
        raise UserError(f"{both[0]} is both masked and subtracted. Leave it out in one of the two.")
    size = heatmaps.image_size if size is None else size

    def mask_of(image: Tensor, positions: Sequence[int]) -> Tensor:
        if method == "argmax":
            return wins(resize_maps(image, size, heatmaps.visible), positions).float()
        maps = image[list(positions)]
        # Shares add up, and as resizing is linear, so do they resized. Concepts that are present may overlap.
        together = maps.amax(dim=0) if heatmaps.kind == "presence" else maps.sum(dim=0)
        together = resize_maps(together, size, heatmaps.visible)
        return _cut(together, method, threshold, percentile).float()

    masks = []
    for image in heatmaps.values.to(device):  # (C, H, W) or (C, T, H, W)
        mask = mask_of(image, chosen)
        masks.append((mask - mask_of(image, taken)).clamp_min(0) if taken else mask)
    finished = torch.stack(masks)
    if method != "soft":
        finished = drop_islands(fill_holes(finished, holes), islands)
    finished = gaussian_blur(grow_masks(finished, grow), blur).clamp(0, 1).cpu()
    return repeat_frames(finished, heatmaps.frame_counts) if per_frame else finished


def _positions(heatmaps: Heatmaps, names: str | Sequence[str]) -> list[int]:
    return sorted({heatmaps.index(name) for name in ([names] if isinstance(names, str) else names)})


def wins(shares: Tensor, chosen: Sequence[int]) -> Tensor:
    """Where one of the `chosen` concepts has the largest share.

    Args:
        shares: (C, ...), float.
        chosen: positions of the concepts wanted on the first axis, one or more.

    Returns:
        (...), bool. A tie with a concept that is not chosen is not won, so nothing depends on the order of
        the concepts. With nothing left to compare with, all is won.
    """
    others = [position for position in range(shares.shape[0]) if position not in chosen]
    best = shares[list(chosen)].amax(dim=0)
    return best > shares[others].amax(dim=0) if others else torch.ones_like(best, dtype=torch.bool)


def otsu_level(values: Tensor) -> float:
    """Level that best splits `values` in two: of all splits, the one of greatest between-class variance.

    The result is that of trying every split, but a histogram bounds the variance of all splits within each of its
    bins, and only the values of bins that can hold the best one are sorted.

    Args:
        values: any shape, float, not all equal.

    Returns:
        The greatest value of the lower class: what is above it belongs to the upper one.
    """
    flat = values.detach().cpu().flatten().numpy()  # NumPy counts much faster than torch on the CPU
    chunks = [flat[start : start + _CHUNK] for start in range(0, len(flat), _CHUNK)]
    low, high = float(flat.min()), float(flat.max())
    mean = sum(float(chunk.sum(dtype=np.float64)) for chunk in chunks) / len(flat)

    def bins_of(chunk: np.ndarray) -> np.ndarray:
        return ((chunk.astype(np.float64) - low) * ((_BINS - 1) / (high - low))).astype(np.int64)

    counts, sums = np.zeros(_BINS, np.int64), np.zeros(_BINS)
    for chunk in chunks:
        bins = bins_of(chunk)
        counts += np.bincount(bins, minlength=_BINS)
        sums += np.bincount(bins, chunk.astype(np.float64) - mean, minlength=_BINS)
    candidates = _bins_of_the_best_split(counts, sums, int(bins_of(np.array([mean]))[0]))
    ordered = np.sort(np.concatenate([chunk[candidates[bins_of(chunk)]] for chunk in chunks]))

    # Number and sum of all values up to each of the sorted ones, those of bins between them included.
    held = counts[candidates]
    skipped = np.repeat(counts.cumsum()[candidates] - held.cumsum(), held)
    skipped_sum = np.repeat(sums.cumsum()[candidates] - sums[candidates].cumsum(), held)
    below = skipped + np.arange(1, len(ordered) + 1)
    between = _between(skipped_sum + (ordered.astype(np.float64) - mean).cumsum(), below, len(flat))
    between[:-1][ordered[:-1] == ordered[1:]] = -1  # equal values cannot be split
    return float(ordered[between.argmax()])


def _bins_of_the_best_split(counts: np.ndarray, sums: np.ndarray, of_mean: int) -> np.ndarray:
    """Which bins of a histogram can hold the split of greatest between-class variance, (bins,) bool.

    Args:
        counts, sums: number and sum of each bin's values, from which the mean of all is subtracted.
        of_mean: the bin of the mean.
    """
    counts_to, sums_to, total = counts.cumsum(), sums.cumsum(), int(counts.sum())
    at_end = _between(sums_to, counts_to, total)
    # The running sum falls up to the mean and rises from there: in every other bin it is lowest at an end.
    deepest = np.minimum(sums_to - sums, sums_to)
    first, last = counts_to - counts + 1, counts_to - 1  # values below the splits within a bin of two or more
    fewest = np.minimum(first * (total - first), last * (total - last))
    within = np.where(counts > 1, deepest**2 / np.maximum(fewest, 1), -1)
    within[of_mean] = np.inf
    best = at_end[counts > 0].max()
    return (counts > 0) & (np.maximum(within, at_end) >= best * (1 - 1e-9))


def _between(sums: np.ndarray, below: np.ndarray, count: int) -> np.ndarray:
    """Between-class variance, up to a factor, of splits below which so many values have such centred sums."""
    return np.where(below < count, sums**2 / np.maximum(below * (count - below), 1), -1)


def _cut(values: Tensor, method: Method, threshold: float, percentile: float) -> Tensor:
    """One image's map, (H, W) or (T, H, W), cut by any method except `argmax`."""
    if method == "soft":
        return values
    if method == "threshold":
        return values > threshold
    if is_flat(values):
        return torch.zeros_like(values)
    if method == "mean":
        return values > values.mean()
    if method == "otsu":
        return values > otsu_level(values)
    # at or above: a plateau at the top counts; above the minimum: a plateau at the bottom does not
    level = float(np.percentile(values.cpu().numpy(), percentile))
    return (values >= level - rounding(values)) & (values > values.min() + rounding(values))


def _check_options(heatmaps: Heatmaps, method: str, threshold: float, percentile: float) -> None:
    check_choice("Mask method", method, METHODS)
    if heatmaps.kind not in ("share", "presence") and method not in RELATIVE:
        raise UserError(
            f"Mask method {method} needs heatmaps of kind share or presence, got kind {heatmaps.kind}. "
            f"Make them with kind=share, or use one of {', '.join(RELATIVE)}."
        )
    if not 0 <= threshold <= 1:
        raise UserError(f"A threshold is a share, 0 to 1; got {threshold}.")
    if not 0 <= percentile <= 100:
        raise UserError(f"A percentile lies in 0 to 100, got {percentile}.")


def _names(heatmaps: Heatmaps) -> str:
    return ", ".join(concept.name for concept in heatmaps.concepts)
