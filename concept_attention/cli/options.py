"""The options of heatmaps and masks, and their application to a recording."""

from __future__ import annotations

from argparse import Namespace
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor

from ..choices import Blend, Keep, Kind, Method
from ..concepts import Concept
from ..drawing.colormaps import check_colormap
from ..heatmaps.heatmaps import Heatmaps, make_heatmaps
from ..heatmaps.masks import make_masks
from ..hosts.architecture import Architecture
from ..hosts.collector import pads_beside
from ..hosts.device import pick_device
from ..recording.averaging import AveragingBuilder
from ..recording.recording import Recording
from ..recording.shares import own_rule
from ..scores import resolve_mode


@dataclass(frozen=True)
class HeatmapOptions:
    """Options of heatmaps and masks; see `make_heatmaps` and `make_masks`."""

    layers: str
    steps: str
    temperature: float | None
    kind: Kind
    colormap: str
    opacity: float
    blend: Blend
    mask: Method
    threshold: float
    percentile: float
    blur: float
    mode: str = "auto"
    device: str = "cpu"

    def heatmaps(self, recording: Recording, kind: Kind) -> Heatmaps:
        options = (self.layers, self.steps, self.mode, self.temperature, kind)
        return make_heatmaps(recording, *options, device=self.device)

    def mask_of(self, shares: Heatmaps, name: str) -> Tensor:
        """Mask of one concept at the image's size, (H, W), or (T, H, W) for a video; float, 0-1."""
        options: dict[str, Any] = {"threshold": self.threshold, "percentile": self.percentile, "blur": self.blur}
        return make_masks(shares, name, self.mask, **options, device=self.device)[0]

    def as_dict(self) -> dict[str, Any]:
        """The options, ready for JSON, without the device and what the recording resolves (layers, steps, mode)."""
        others = ("layers", "steps", "mode", "device")
        return {name: value for name, value in asdict(self).items() if name not in others}


def heatmap_options(arguments: Namespace) -> HeatmapOptions:
    """The options given on the command line."""
    names = ("layers", "temperature", "kind", "colormap", "opacity", "blend", "mask", "threshold", "percentile", "blur")
    check_colormap(arguments.colormap)
    given = {name: getattr(arguments, name) for name in names}
    return HeatmapOptions(steps=arguments.heatmap_steps, device=pick_device(arguments.device), **given)


def check_options(
    options: HeatmapOptions,
    model: Architecture,
    mode: str,
    concepts: Sequence[Concept],
    steps: int,
    keep: Keep = "every step",
) -> None:
    """Apply the options to an empty recording like that of the coming run, so that errors come before the work.

    Args:
        options: to check.
        model: architecture of the run's model.
        mode: scoring rule of the run, or `auto`.
        concepts: of the run.
        steps: number of steps to be recorded.
        keep: every step, or their running mean.

    Raises:
        UserError: see `make_heatmaps` and `make_masks`.
    """
    resolved = resolve_mode(mode, model.name, model.reading)
    riding = resolved.reading == "concept"
    pad_count = pads_beside(len(concepts), model, resolved) if riding else 0
    averaged = None
    if keep == "running mean":
        rule = own_rule(resolved, pad_count)
        averaged, pad_count, steps = AveragingBuilder((0,), rule, len(concepts)).averaged, rule.pad_count, 1
    scores = torch.zeros(steps, model.layer_count, 1, len(concepts), 1)
    recording = Recording(
        scores=scores,
        norms=torch.ones(scores.shape[:-1]),
        layers=tuple(range(model.layer_count)),
        layer_count=model.layer_count,
        default_layers=model.default_layers,
        steps=tuple(range(steps)),
        sigmas=(1.0,) * steps,
        grid=(1, 1, 1),
        image_size=(1, 1),
        architecture=model.name,
        mode=resolved.name,
        concepts=tuple(concepts),
        pad_scores=scores[..., 0, :] if pad_count else None,
        pad_count=pad_count,
        averaged=averaged,
        presence=scores.half() if riding else None,
    )
    options.mask_of(options.heatmaps(recording, "share"), concepts[0].name)
    options.heatmaps(recording, options.kind)
