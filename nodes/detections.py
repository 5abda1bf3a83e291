"""Things found in heatmaps, in the forms that other nodes take: core's detectors and trackers, and the Impact Pack."""

from __future__ import annotations

import json
import sys
from collections import namedtuple
from collections.abc import Sequence
from typing import Any

import torch
from comfy_execution.graph_utils import ExecutionBlocker
from torch import Tensor

from ..concept_attention.heatmaps.heatmaps import Heatmaps
from ..concept_attention.heatmaps.instances import Instance, Point, opposing_points

NOTHING = ExecutionBlocker(None)  # nodes that need at least one do not run

# The Impact Pack reads a SEG by these names. Its own class is taken if the pack is loaded.
SEG = namedtuple(  # noqa: PYI024  # the pack's is one without types
    "SEG",
    ("cropped_image", "cropped_mask", "confidence", "crop_region", "bbox", "label", "control_net_wrapper"),
    defaults=(None,),
)


def to_bounding_boxes(found: Sequence[Instance], heatmaps: Heatmaps) -> list[list[dict[str, Any]]]:
    """BOUNDING_BOX: one list of boxes for every image or video frame, with the label and the score of each."""
    return [
        [_box(one) for one in found if (one.image, one.frame) == (image, frame)]
        for image in range(heatmaps.batch)
        for frame in heatmaps.frames
    ]


def _box(one: Instance) -> dict[str, Any]:
    x, y, width, height = one.box
    return {"x": x, "y": y, "width": width, "height": height, "label": one.name, "score": one.score}


def to_coords(found: Sequence[Instance], heatmaps: Heatmaps, names: Sequence[str], threshold: float) -> tuple[str, str]:
    """Positive and negative points of the first image or frame, as JSON."""
    first = [one.point for one in found if (one.image, one.frame) == (0, 0)]
    return _points(first), _points(opposing_points(heatmaps, names, 0, 0, threshold))


def _points(points: Sequence[Point]) -> str:
    return json.dumps([{"x": x, "y": y} for x, y in points])


def to_masks(found: Sequence[Instance], size: tuple[int, int]) -> Tensor:
    """One MASK (N, H, W) per thing of the first image or frame; an empty one if there is none."""
    first = [one.mask.float() for one in found if (one.image, one.frame) == (0, 0)]
    return torch.stack(first) if first else torch.zeros(1, *size)


def to_crops(found: Sequence[Instance], images: Sequence[tuple[Tensor, int, int]]) -> list[Tensor]:
    """The part (1, H, W, 3) of its image in each box; of a T of a video, that of its first frame."""
    by_place: dict[tuple[int, int], Tensor] = {}
    for image, index, frame in images:
        by_place.setdefault((index, frame), image)
    crops = []
    for one in found:
        image, (x, y, width, height) = by_place[one.image, one.frame], one.box
        crops.append(image[None, y : y + height, x : x + width])
    return crops


def to_segs(found: Sequence[Instance], size: tuple[int, int]) -> tuple[tuple[int, int], list[Any]]:
    """SEGS of the Impact Pack: the image's (height, width), and one SEG per thing of the first image or frame."""
    seg = getattr(sys.modules.get("impact.core"), "SEG", SEG)
    segs = []
    for one in found:
        if (one.image, one.frame) == (0, 0):
            x, y, width, height = one.box
            region, mask = [x, y, x + width, y + height], one.mask[y : y + height, x : x + width]
            segs.append(seg(None, mask.float().numpy(), one.score, region, region, one.name, None))
    return size, segs
