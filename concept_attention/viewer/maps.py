"""The maps that the viewer averages: every kept step and layer in 16 bits, joined in groups if there are too many."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple

import numpy as np
import torch
from torch import Tensor

from ..choices import Kind
from ..concepts import Concept
from ..heatmaps.heatmaps import Heatmaps, select_layers
from ..heatmaps.resize import visible_share
from ..recording.recording import Recording
from ..recording.shares import ShareRule, share_rule

LEVELS = 2**16 - 1  # greatest of the stored numbers
IMAGE_LIMIT = 2**25  # bytes of stored numbers per image
RUN_LIMIT = 2**29  # and of all images together


class StoredMaps(NamedTuple):
    """One image's maps as integers: value = offset + scale * stored, rounded to the nearest.

    Attributes:
        stored: (S, L, C, T, H, W), uint16.
        offset, scale: finite, scale above 0.
    """

    stored: np.ndarray
    offset: float
    scale: float


@dataclass(frozen=True, eq=False)
class ViewerMaps:
    """Everything the viewer shows of a recording or of heatmaps, except the images.

    Attributes:
        concepts: one per C.
        kind: of the finished map.
        grid: (T, H, W).
        visible: see `Heatmaps`.
        image_size: (height, width) in pixels.
        batch: images (or videos).
        frame_counts: see `Heatmaps`.
        of_image: makes the maps of one image (or video).
        average: `values`, the weighted mean over the chosen steps and layers is the map; `softmax`, it is of scores,
            and softmax(mean / temperature) over concepts is the map. These scores are relative to their token's mean
            over concepts, which the softmax ignores.
        temperature: of that softmax.
        step_groups: positions among the recorded steps that every S is the mean of. Their number is its weight in a
            mean. Empty for heatmaps, whose S and L are 1.
        layer_groups: the same for every L, as indices of the model's layers.
        steps: sampler step numbers of all recorded steps.
        sigmas: their noise levels.
        default_layers: what `auto` selects.
        reduced: whether steps or layers are joined: in groups, or because a recording keeps only the mean over steps.
        regions: names of the regions where something acted while the images were made.
        region_masks: one per region, (R, B, T, H, W) with the grid's T, 0-1; None without regions.
    """

    concepts: tuple[Concept, ...]
    kind: Kind
    grid: tuple[int, int, int]
    visible: tuple[float, float]
    image_size: tuple[int, int]
    batch: int
    frame_counts: tuple[int, ...] | None
    of_image: Callable[[int], StoredMaps]
    average: Literal["values", "softmax"] = "values"
    temperature: float = 1.0
    step_groups: tuple[tuple[int, ...], ...] = ()
    layer_groups: tuple[tuple[int, ...], ...] = ()
    steps: tuple[int, ...] = ()
    sigmas: tuple[float, ...] = ()
    default_layers: tuple[int, ...] = ()
    reduced: bool = False
    regions: tuple[str, ...] = ()
    region_masks: Tensor | None = None


def maps_of_recording(
    recording: Recording,
    mode: str = "auto",
    temperature: float | None = None,
    *,
    image_limit: int = IMAGE_LIMIT,
    run_limit: int = RUN_LIMIT,
    device: str | torch.device = "cpu",
) -> ViewerMaps:
    """Maps of every kept step and layer; means of neighbouring ones if they exceed the limits.

    Steps are joined first, in groups of sizes that differ by one at most, then layers.

    Args:
        recording: what one sampling run recorded.
        mode, temperature: see `make_heatmaps`.
        image_limit, run_limit: bytes of stored numbers per image, and of all together. One map is always stored.
        device: where to compute; the stored numbers are those of the CPU but for rounding.

    Raises:
        UserError: as `share_rule`.
    """
    rule = share_rule(recording, mode, temperature)
    limit = min(image_limit, run_limit // recording.batch)
    most = max(1, limit // (2 * len(recording.concepts) * math.prod(recording.grid)))
    step_groups = split_evenly(range(len(recording.steps)), max(1, most // len(recording.layers)))
    layer_groups = split_evenly(range(len(recording.layers)), most)  # joined only once a single step is left

    def of_image(index: int) -> StoredMaps:
        values = _group_means(recording, rule, index, step_groups, layer_groups, torch.device(device))
        stored = _quantise_scores(values) if rule.averages_scores else _quantise(values, 0.0, 1.0)
        return stored._replace(stored=stored.stored.reshape(*values.shape[:3], *recording.grid))

    return ViewerMaps(
        concepts=recording.concepts,
        kind="share",
        average="softmax" if rule.averages_scores else "values",
        temperature=rule.temperature,
        step_groups=step_groups,
        layer_groups=tuple(tuple(recording.layers[index] for index in group) for group in layer_groups),
        steps=recording.steps,
        sigmas=recording.sigmas,
        default_layers=select_layers(recording, "auto"),
        grid=recording.grid,
        visible=visible_share(recording.image_size, recording.covered_size),
        image_size=recording.image_size,
        batch=recording.batch,
        frame_counts=recording.frame_counts,
        reduced=recording.averaged is not None or any(len(group) > 1 for group in (*step_groups, *layer_groups)),
        of_image=of_image,
        regions=recording.regions or (),
        region_masks=_per_token_frame(recording),
    )


def maps_of_heatmaps(heatmaps: Heatmaps) -> ViewerMaps:
    """Maps of finished heatmaps: one step, one layer, nothing to choose."""
    values = heatmaps.values if heatmaps.video else heatmaps.values[:, :, None]

    def of_image(index: int) -> StoredMaps:
        maps = values[index][None, None]
        low, high = (0.0, 1.0) if heatmaps.kind != "score" else map(float, maps.aminmax())
        return _quantise(maps, low, high)

    return ViewerMaps(
        concepts=heatmaps.concepts,
        kind=heatmaps.kind,
        grid=(values.shape[2], values.shape[3], values.shape[4]),
        visible=heatmaps.visible,
        image_size=heatmaps.image_size,
        batch=heatmaps.batch,
        frame_counts=heatmaps.frame_counts,
        of_image=of_image,
    )


def _per_token_frame(recording: Recording) -> Tensor | None:
    """The masks of regions, one per T of the grid: of several latent frames, the first."""
    masks = recording.region_masks
    return None if masks is None else masks[:, :, :: math.ceil(masks.shape[2] / recording.grid[0])]


def split_evenly(numbers: Sequence[int], most: int) -> tuple[tuple[int, ...], ...]:
    """Split numbers into at most `most` groups of neighbours, whose sizes differ by one at most."""
    count = len(numbers)
    groups = min(most, count)
    ends = [index * count // groups for index in range(groups + 1)]
    return tuple(tuple(numbers[first:last]) for first, last in zip(ends, ends[1:], strict=False))


def _group_means(
    recording: Recording,
    rule: ShareRule,
    index: int,
    step_groups: Sequence[Sequence[int]],
    layer_groups: Sequence[Sequence[int]],
    device: torch.device,
) -> Tensor:
    """One image's maps, (S, L, C, N), float32: for every pair of groups, the mean of what the rule averages."""

    def values_at(step: int) -> Tensor:
        """What the rule averages, in every layer, (L, C, N)."""
        return rule.values(*recording.at(step, slice(None), index, device=device)[:3])

    concepts, tokens = recording.scores.shape[-2:]
    means = torch.empty(len(step_groups), len(layer_groups), concepts, tokens, device=device)
    for row, steps in zip(means, step_groups, strict=True):
        total = values_at(steps[0])
        for step in steps[1:]:
            total = total + values_at(step)
        for mean, layers in zip(row, layer_groups, strict=True):
            mean.copy_(total[layers[0] : layers[-1] + 1].mean(dim=0) / len(steps))
    return means


def _quantise_scores(values: Tensor) -> StoredMaps:
    values = values - values.mean(dim=2, keepdim=True)  # (S, L, C, N): less to span, so finer levels
    low, high = values.aminmax()
    return _quantise(values, float(low), float(high))


def _quantise(values: Tensor, low: float, high: float) -> StoredMaps:
    """Integers from 0 for `low` to LEVELS for `high`; all 0 if the values are flat."""
    scale = (high - low) / LEVELS or 1.0
    levels = (values - low).div_(scale).round_().clamp_(0, LEVELS)
    return StoredMaps(levels.cpu().numpy().astype("<u2"), low, scale)
