"""How a recording becomes heatmaps and masks, as the options say."""

from __future__ import annotations

from argparse import Namespace
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor

from ..choices import Keep, Kind, Method
from ..concepts import Concept
from ..drawing.colormaps import check_colormap
from ..heatmaps.heatmaps import Heatmaps, make_heatmaps
from ..heatmaps.masks import make_masks
from ..hosts.architecture import Architecture
from ..recording.averaging import AveragingBuilder
from ..recording.recording import Recording
from ..recording.shares import ShareRule
from ..scores import resolve_mode


@dataclass(frozen=True)
class HeatmapOptions:
    """The options that choose what heatmaps and masks are made of; each as in `make_heatmaps` and `make_masks`."""

    layers: str
    steps: str
    temperature: float | None
    kind: Kind
    colormap: str
    opacity: float
    mask: Method
    threshold: float
    percentile: float
    blur: float
    mode: str = "auto"

    def heatmaps(self, recording: Recording, kind: Kind) -> Heatmaps:
        return make_heatmaps(recording, self.layers, self.steps, self.mode, self.temperature, kind)

    def mask_of(self, shares: Heatmaps, name: str) -> Tensor:
        """(H, W) mask of one concept at the picture's size; (T, H, W) of a video."""
        masks = make_masks(
            shares, name, self.mask, threshold=self.threshold, percentile=self.percentile, blur=self.blur
        )
        return masks[0]

    def as_dict(self) -> dict[str, Any]:
        """The options, ready for JSON, except for those a recording resolves (layers, steps, mode)."""
        return {name: value for name, value in asdict(self).items() if name not in ("layers", "steps", "mode")}


def heatmap_options(arguments: Namespace) -> HeatmapOptions:
    """The reading that the command line asks for."""
    names = ("layers", "temperature", "kind", "colormap", "opacity", "mask", "threshold", "percentile", "blur")
    check_colormap(arguments.colormap)
    return HeatmapOptions(steps=arguments.heatmap_steps, **{name: getattr(arguments, name) for name in names})


def check_options(
    reading: HeatmapOptions,
    model: Architecture,
    mode: str,
    concepts: Sequence[Concept],
    steps: int,
    keep: Keep = "every step",
) -> None:
    """Read an empty recording of the shape the run will have, so that an option that cannot be met is an error now.

    Args:
        reading: what will be made of the recording.
        model: the model of the run.
        mode: its fidelity mode, or `auto`.
        concepts: what it looks for.
        steps: how many steps will be recorded.
        keep: every one of them, or their running mean.

    Raises:
        ValueError: as `make_heatmaps` and `make_masks`.
    """
    resolved = resolve_mode(mode, model.name)
    pads = max(0, resolved.padded_tokens - len(concepts))
    averaged = None
    if keep == "running mean":
        averaged = AveragingBuilder((0,), ShareRule(resolved, resolved.temperature, pads), len(concepts)).averaged
        steps = 1
    scores = torch.zeros(steps, model.joint_blocks, 1, len(concepts), 1)
    recording = Recording(
        scores=scores,
        norms=torch.ones(scores.shape[:-1]),
        layers=tuple(range(model.joint_blocks)),
        layer_count=model.joint_blocks,
        default_layers=model.default_layers,
        steps=tuple(range(steps)),
        sigmas=(1.0,) * steps,
        grid=(1, 1, 1),
        image_size=(1, 1),
        architecture=model.name,
        mode=resolved.name,
        concepts=tuple(concepts),
        pad_scores=scores[..., 0, :] if pads else None,
        pad_count=pads,
        averaged=averaged,
    )
    reading.mask_of(reading.heatmaps(recording, "share"), concepts[0].name)
    reading.heatmaps(recording, reading.kind)
