"""Things of their own in heatmaps: connected areas, with a box, a point and a mask each."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from ..errors import UserError
from .heatmaps import Heatmaps
from .resize import resize_maps

Point = tuple[int, int]  # x to the right, y down, in pixels


@dataclass(frozen=True, eq=False)
class Instance:
    """One connected area of a concept's map.

    Attributes:
        name: of the concept.
        image: position in the batch.
        frame: T of a video; 0 for an image.
        box: x, y, width, height in pixels.
        point: where the map is highest in it.
        score: mean of the map in it.
        mask: (H, W) bool.
    """

    name: str
    image: int
    frame: int
    box: tuple[int, int, int, int]
    point: Point
    score: float
    mask: Tensor


def find_instances(
    heatmaps: Heatmaps,
    names: Sequence[str],
    threshold: float = 0.5,
    least: float = 0.5,
    most: int = 16,
    padding: int = 0,
) -> list[Instance]:
    """Every connected area where a concept's map is above the threshold.

    Args:
        heatmaps: of kind `share` or `presence`; they are resized to the image first.
        names: of the concepts.
        threshold: 0-1.
        least: smaller areas are left out, in percent of the image, 0-100.
        most: areas of each concept in each image and frame, the largest first.
        padding: pixels that a box is larger than its area on every side, within the image.

    Returns:
        By image, frame and concept, the largest area first.

    Raises:
        UserError: for an unknown name, another kind of heatmap, or numbers out of range.

    Convention: pixels belong together along sides and at corners.

    >>> from concept_attention import make_heatmaps
    >>> from concept_attention.recording.example import example_recording
    >>> [(one.name, one.box) for one in find_instances(make_heatmaps(example_recording()), ["house"])]
    [('house', (33, 17, 30, 30))]
    """
    _check(heatmaps, threshold, least, most)
    positions = [heatmaps.index(name) for name in names]
    found = []
    for image, maps in enumerate(heatmaps.values):
        frames = maps.transpose(0, 1) if heatmaps.video else maps[None]  # (T, C, H, W)
        for frame, of_frame in enumerate(frames):
            full = resize_maps(of_frame[positions], heatmaps.image_size, heatmaps.visible)
            for position, values in zip(positions, full, strict=True):
                areas = _areas(values, threshold, least / 100 * values.numel())[:most]
                name = heatmaps.concepts[position].name
                found += [_instance(name, image, frame, values, area, padding) for area in areas]
    return found


def opposing_points(heatmaps: Heatmaps, names: Sequence[str], image: int, frame: int, threshold: float) -> list[Point]:
    """Where the other concepts are highest, one point for each that is above the threshold and above `names` there."""
    maps = heatmaps.values[image][:, frame] if heatmaps.video else heatmaps.values[image]
    full = resize_maps(maps, heatmaps.image_size, heatmaps.visible)
    chosen = [heatmaps.index(name) for name in names]
    own = full[chosen].amax(dim=0)
    points = []
    for position, values in enumerate(full):
        if position not in chosen and float((rest := values.masked_fill(values <= own, -1)).max()) > threshold:
            points.append(_peak(rest))
    return points


def _areas(values: Tensor, threshold: float, least: float) -> list[Tensor]:
    """The connected areas, (H, W) bool each, the largest first."""
    from scipy import ndimage  # takes a third of a second

    labels, count = ndimage.label((values > threshold).numpy(), structure=np.ones((3, 3)))
    sizes = np.bincount(labels.ravel(), minlength=count + 1)[1:]
    order = [number for number in np.argsort(-sizes, kind="stable") if sizes[number] >= max(1, least)]
    return [torch.from_numpy(labels == number + 1) for number in order]


def _instance(name: str, image: int, frame: int, values: Tensor, area: Tensor, padding: int) -> Instance:
    height, width = area.shape
    rows, columns = area.any(dim=1).nonzero(), area.any(dim=0).nonzero()
    top, bottom = max(0, int(rows[0]) - padding), min(height, int(rows[-1]) + 1 + padding)
    left, right = max(0, int(columns[0]) - padding), min(width, int(columns[-1]) + 1 + padding)
    point = _peak(values.masked_fill(~area, -1))
    return Instance(
        name, image, frame, (left, top, right - left, bottom - top), point, float(values[area].mean()), area
    )


def _peak(values: Tensor) -> Point:
    """The middle one of the highest places, which always is one of them."""
    rows, columns = (values >= values.max() - 1e-6).nonzero(as_tuple=True)
    distance = (rows - rows.float().mean()) ** 2 + (columns - columns.float().mean()) ** 2
    middle = int(distance.argmin())
    return int(columns[middle]), int(rows[middle])


def _check(heatmaps: Heatmaps, threshold: float, least: float, most: int) -> None:
    if heatmaps.kind not in ("share", "presence"):
        raise UserError(f"Boxes need heatmaps of kind share or presence, got kind {heatmaps.kind}. Use one of these.")
    if not 0 <= threshold <= 1:
        raise UserError(f"A threshold is a share or a presence, 0 to 1; got {threshold}.")
    if not 0 <= least <= 100 or most < 1:
        raise UserError(f"An area has 0 to 100 percent, and there is at least one; got {least} and {most}.")
