"""Heatmaps, and how a recording becomes them: which layers and steps count, and which share rule."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from einops import rearrange
from torch import Tensor

from ..choices import KINDS, READING_NAMES, Kind, check_choice
from ..concepts import Concept, concept_index, shorten_names
from ..errors import UserError
from ..recording.recording import Recording
from ..recording.shares import check_mean_suffices, share_rule
from ..selection import parse_layers, parse_steps, usual_layers
from .resize import check_size, latent_frame_indices, repeat_frames, resize_maps, stretch, visible_share


@dataclass(frozen=True, eq=False)
class Heatmaps:
    """Float saliency of every concept over a batch of images or videos.

    Attributes:
        values: (B, C, H, W), or (B, C, T, H, W) for video, float32 on the CPU, finite; at token resolution or
            resized.
        concepts: the C concepts, in the order of `values`.
        kind: `share` (0-1, sums to one over concepts, to less in mode `cogvideox`), `score` (any range),
            `stretched` (min-max, 0-1) or `presence` (0-1, each concept by itself).
        image_size: (height, width) in pixels of the image they belong to.
        covered_size: (height, width) in pixels that the values cover, from the image's upper left, if that is more
            than the image; else None.
        frame_counts: video frames that each T of a video stands for, such as (1, 4, 4); None is one each.

    Raises:
        UserError: for an unknown kind or an impossible size.
        ValueError: if these do not fit each other.

    Convention: T counts the frames of the token grid: latent frames, or pairs of them where a token covers two.
    """

    values: Tensor
    concepts: tuple[Concept, ...]
    kind: Kind
    image_size: tuple[int, int]
    covered_size: tuple[int, int] | None = None
    frame_counts: tuple[int, ...] | None = None

    def __repr__(self) -> str:
        shape, (height, width) = tuple(self.values.shape), self.image_size
        what = "video" if self.video else "image"
        return f"<Heatmaps of {shorten_names(self.concepts)}: {self.kind}, values {shape}, {what} {width} x {height}>"

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        """The values, so that `np.asarray(heatmaps)` is the array; it shares their memory."""
        values = self.values.numpy()
        if copy is False and dtype not in (None, values.dtype):
            raise ValueError(f"Heatmaps are float32; {dtype} needs a copy. Leave out copy=False.")
        return values.astype(values.dtype if dtype is None else dtype, copy=bool(copy))

    def __post_init__(self) -> None:
        values = self.values.detach()
        if values.ndim not in (4, 5) or values.shape[1] != len(self.concepts) or 0 in values.shape:
            raise ValueError(
                f"Heatmaps of {len(self.concepts)} concepts are (B, C, H, W) or (B, C, T, H, W), "
                f"got values of shape {tuple(values.shape)}."
            )
        if values.dtype != torch.float32 or values.device.type != "cpu":
            raise ValueError(f"Heatmaps are float32 on the CPU, got {values.dtype} on {values.device}.")
        if not torch.isfinite(values).all():
            raise ValueError("Heatmaps are finite, got nan or infinity. Look at the scores they came from.")
        check_choice("Kind of heatmap", self.kind, KINDS)
        check_size(self.image_size)
        if self.covered_size is not None:
            check_size(self.covered_size)
            if any(whole < size for whole, size in zip(self.covered_size, self.image_size, strict=True)):
                raise ValueError(f"Heatmaps cover at least their image of {self.image_size}, got {self.covered_size}.")
        if self.frame_counts is not None and (values.ndim != 5 or len(self.frame_counts) != values.shape[2]):
            raise ValueError(
                f"Heatmaps of a video have one frame count for each of its T, got {self.frame_counts} for values of "
                f"shape {tuple(values.shape)}."
            )
        object.__setattr__(self, "values", values)

    def _comfy_cache_tensors(self) -> tuple[Tensor, ...]:
        """See `Recording._comfy_cache_tensors`."""
        return (self.values,)

    @property
    def batch(self) -> int:
        return self.values.shape[0]

    @property
    def video(self) -> bool:
        return self.values.ndim == 5

    @property
    def frames(self) -> tuple[int, ...]:
        """The T of every video frame; (0,) for an image."""
        return latent_frame_indices(self.frame_counts or (1,) * (self.values.shape[2] if self.video else 1))

    @property
    def visible(self) -> tuple[float, float]:
        """Fraction (0-1] of the values' height and width that lies in the image, see `resize_maps`."""
        return visible_share(self.image_size, self.covered_size)

    def index(self, name: str) -> int:
        """Position of the concept called `name`; a UserError lists the names there are."""
        return concept_index(self.concepts, name)

    def of(self, names: str | Sequence[str]) -> Heatmaps:
        """The same heatmaps of some concepts only, in the order they have; a UserError lists the names there are."""
        chosen = sorted({self.index(name) for name in ([names] if isinstance(names, str) else names)})
        if not chosen:
            raise UserError(f"No concept is named. Name at least one of {shorten_names(self.concepts)}.")
        return replace(self, values=self.values[:, chosen], concepts=tuple(self.concepts[one] for one in chosen))

    def resized(self, size: tuple[int, int] | None = None) -> Heatmaps:
        """The same heatmaps at (height, width) `size` in pixels, or at `image_size`; see `resize_maps`.

        >>> from concept_attention.recording.example import example_recording
        >>> heatmaps = make_heatmaps(example_recording())
        >>> heatmaps.resized().values.shape, heatmaps.resized((32, 48)).values.shape
        (torch.Size([1, 3, 64, 96]), torch.Size([1, 3, 32, 48]))
        """
        values = resize_maps(self.values, self.image_size if size is None else size, self.visible)
        return replace(self, values=values, covered_size=None)

    def per_frame(self) -> Heatmaps:
        """The same heatmaps with one T for each video frame; see `repeat_frames`."""
        return replace(self, values=repeat_frames(self.values, self.frame_counts), frame_counts=None)


def make_heatmaps(
    recording: Recording,
    layers: str | int | Sequence[int] = "auto",
    steps: str | int | Sequence[int] = "all",
    mode: str = "auto",
    temperature: float | None = None,
    kind: Kind = "share",
    *,
    device: str | torch.device = "cpu",
) -> Heatmaps:
    """Turn the kept (step, layer) scores of a recording into one heatmap per concept.

    Args:
        recording: what one sampling run recorded.
        layers: joint block indices of the model, e.g. "15-18", 2 or [3, 7], each of which must have been kept.
            "all" is all that were kept; "auto" the architecture's choice as far as it was kept, else all.
        steps: positions among the recorded steps, e.g. "3-7", -1; "all" means all of them.
        mode: a key of `MODES`; "auto" is the mode the recording was made for.
        temperature: divides scores before the softmax over concepts, 1e-6 to 1e9; None is the mode's own.
        kind: `share`; `score`, the mean of the mode's scores; `stretched`, the shares of an image min-maxed over all
            its concepts (and frames) together; or `presence`, the share each concept has against the null words
            alone, 1 / (1 + exp(-mean log-odds)). That depends on no other concept, nor on `mode` and `temperature`:
            it is recorded with those of the recording's own mode.
        device: where to compute; the result is on the CPU, and that of the CPU to 1e-4.

    Returns:
        Heatmaps at token resolution. Shares sum to one over concepts, except in mode `cogvideox`, where the
        padding tokens take their part. One concept alone has nothing to be compared with: its share is one
        everywhere, and stretched it is its raw score that is min-maxed. What is flat stretches to zeros.

    Raises:
        UserError: for layers or steps that are not in the recording, an unknown mode or kind, a mode whose
            scores the recording lacks, a temperature out of range, presence where none was recorded, or a request
            that a recording of the mean over its steps cannot answer.

    Source: arXiv:2502.04320, Sec. 4; the modes are named after the published implementations they follow.

    >>> from concept_attention.recording.example import example_recording
    >>> heatmaps = make_heatmaps(example_recording(), layers="3", steps="-1")
    >>> heatmaps.values.shape  # batch, concepts, height, width
    torch.Size([1, 3, 4, 6])
    >>> (100 * heatmaps.values[0, heatmaps.index("house")]).round().int().tolist()
    [[2, 2, 2, 2, 2, 2], [2, 2, 96, 96, 2, 2], [2, 2, 96, 96, 2, 2], [2, 2, 2, 2, 2, 2]]
    """
    check_choice("Kind of heatmap", kind, KINDS)
    rule = share_rule(recording, mode, temperature)
    some_steps = isinstance(steps, (str, int)) and str(steps).strip().casefold() != "all"
    lacks_scores = recording.averaged == "share" and kind == "score"
    check_mean_suffices(recording, {f"steps {steps}": some_steps, f"kind {kind}": lacks_scores})
    kept = [recording.layers.index(layer) for layer in select_layers(recording, layers)]
    pairs = [(step, layer) for step in parse_steps(steps, len(recording.steps)) for layer in kept]

    alone = len(recording.concepts) == 1 and not rule.mode.padded_tokens
    if kind == "presence":
        presence = recorded_presence(recording)
        tokens = _mean(presence[pair].to(device).float() for pair in pairs).sigmoid()
    elif kind == "score" or (kind == "stretched" and alone):
        tokens = _mean(rule.scores(*recording.at(*pair, device=device)[:2]) for pair in pairs)
    else:
        tokens = rule.shares(_mean(rule.values(*recording.at(*pair, device=device)[:3]) for pair in pairs))

    frames, height, width = recording.grid
    values = rearrange(tokens.cpu(), "b c (t h w) -> b c t h w", t=frames, h=height, w=width)
    values = values if recording.video else rearrange(values, "b c 1 h w -> b c h w")
    if kind == "stretched":
        values = torch.stack([stretch(image) for image in values])
    return Heatmaps(
        values, recording.concepts, kind, recording.image_size, recording.covered_size, recording.frame_counts
    )


def recorded_presence(recording: Recording) -> Tensor:
    """The log-odds of a recording, (S, L, B, C, N); a UserError says why there are none."""
    if recording.presence is None and recording.reading != "concept":
        raise UserError(
            f"Presence is measured by concept attention, and this recording holds {READING_NAMES[recording.reading]}. "
            "Use kind=score, which shows each concept without regard to the others."
        )
    if recording.presence is None:
        raise UserError(
            "This recording has no presence: it was made without null words, by an older version, or with the reader "
            "clip. Encode the concepts with presence, and record again."
        )
    return recording.presence


def select_layers(recording: Recording, layers: str | int | Sequence[int]) -> tuple[int, ...]:
    """The model's layers that `layers` selects in `make_heatmaps`; a UserError names one that was not kept."""
    kept = recording.layers
    usual = usual_layers(kept, recording.default_layers)
    everything = isinstance(layers, str) and layers.strip().casefold() == "all"
    wanted = kept if everything else parse_layers(layers, recording.layer_count, usual)
    missing = [layer for layer in wanted if layer not in kept]
    if missing:
        raise UserError(
            f"Layer {missing[0]} was not recorded: this recording keeps {', '.join(map(str, kept))}. "
            "Choose among those, or record again with more layers."
        )
    return wanted


def _mean(maps: Iterator[Tensor]) -> Tensor:
    """Mean of maps taken one at a time: only the running sum and the map at hand are in memory."""
    total, count = next(maps), 1
    for one in maps:
        total = total + one  # never in place: the first may be the recording's own
        count += 1
    return total / count
