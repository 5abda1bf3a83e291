"""Outlines of masks as polygons."""

from __future__ import annotations

import numpy as np

from ..findings import HALF

SMOOTHING = 0.25  # pixels that a polygon may leave its outline, which saves most of its points


def outlines(mask: np.ndarray) -> list[np.ndarray]:
    """The regions of a mask as polygons, one each.

    Args:
        mask: (H, W) uint8, 0-255; inside is at least one half.

    Returns:
        Polygons of at least three points, (n, 2) float64, as (x, y) in pixels from the upper left corner. A hole is
        joined to the outer line by a cut without width, as neither COCO nor YOLO has holes.
    """
    import contourpy  # comes with matplotlib, which is slow to import

    height, width = mask.shape
    padded = np.pad(mask.astype(np.float64), 1, mode="edge")  # a region that leaves the image reaches its border
    centres = np.arange(-1, width + 1) + 0.5, np.arange(-1, height + 1) + 0.5
    generator = contourpy.contour_generator(*centres, padded, fill_type="OuterOffset")
    filled = generator.filled(HALF - 0.5, 256.0)
    found = []
    for points, offsets in zip(*filled, strict=True):
        rings = [_thinned(points[start:end]) for start, end in zip(offsets[:-1], offsets[1:], strict=True)]
        rings = [ring for ring in rings if len(ring) > 2]
        if rings:
            found.append(_joined(rings).clip(0, (width, height)))
    return found


def _thinned(ring: np.ndarray) -> np.ndarray:
    """A closed line, (n, 2), with fewer points, and not closed any more."""
    from matplotlib.path import Path

    path = Path(ring)
    path.simplify_threshold = SMOOTHING
    thinned = np.asarray(path.cleaned(simplify=True).vertices)[:-1]  # the last is matplotlib's mark for the end
    return thinned[:-1] if len(thinned) > 1 and np.array_equal(thinned[0], thinned[-1]) else thinned


def _joined(rings: list[np.ndarray]) -> np.ndarray:
    """The outer line and its holes as one line that goes to each hole and back from the point that is nearest."""
    line = rings[0]
    for hole in rings[1:]:
        distances = ((line[:, None] - hole[None]) ** 2).sum(axis=2)
        at, first = np.unravel_index(distances.argmin(), distances.shape)
        around = np.concatenate([hole[first:], hole[: first + 1]])
        line = np.concatenate([line[: at + 1], around, line[at:]])
    return line
