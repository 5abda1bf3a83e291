"""A recording: the score of every concept at every image token, for every kept step and layer."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor

from ..choices import Reading
from ..concepts import Concept, shorten_names
from ..scores import MODES, Averaged
from .checks import check_recording
from .half import StoredScores, reads_norms, to_absolute, to_half


@dataclass(frozen=True, eq=False)
class Recording:
    """The scores of one run of a model; heatmaps are made from them without sampling again.

    Attributes:
        scores: (S, L, B, C, N), float32 or float16, CPU; what they are depends on the `reading`. `concept`: dot
            products; concept vectors are linearly normalised where the mode's `vectors` is `linear`, raw otherwise.
            `cross` and `gram`: see `text_attention`. With `offsets` they are relative to those: `at` returns absolute
            ones.
        norms: L2 norms of the concept vectors, (S, L, B, C), float32, CPU; `sd3` reads scores / norms. 1 where there
            are no vectors.
        layers: block index of every L, ascending; of joint blocks, or of those with cross-attention.
        layer_count: such blocks the model has.
        default_layers: what `auto` means for this architecture.
        steps: 0-based sampler step of every S.
        sigmas: noise level of every S, 0 (clean) to 1 (noise).
        grid: token grid (T, H, W), N = T * H * W row-major; T is 1 for images.
        image_size: pixels (height, width).
        covered_size: pixels (height, width) that the grid covers where that is more than the image, of which it
            begins at the upper left; None where the grid ends with the image.
        architecture: such as `flux`.
        mode: key of `MODES` the scores were recorded for.
        concepts: one per C.
        pad_scores: score of one of the equal pad tokens, (S, L, B, N), dtype of scores; or None.
        pad_count: how many pad tokens it stands for.
        metadata: free text, such as prompt, model, versions, seed.
        frame_counts: video frames that each T of a video stands for, such as (1, 4, 4); None where that is one each.
        averaged: what the only S is the mean of over all recorded steps, of which `steps` and `sigmas` then have the
            last step and the mean. `score`: of the mode's scores. `share`: of its shares at its own temperature; scores
            are that temperature times their logarithm, so their softmax is the mean share. Norms are 1 in both. None:
            every step is kept.
        offsets: what float16 scores and pad scores are relative to, (S, L, B, N), float16; None where they are
            absolute. About the token's greatest score, or score / norm in a mode that reads those.
        presence: log-odds of every concept against the null words, (S, L, B, C, N), float16; None if there were none.
            Each concept attended to itself and the image alone, so that its log-odds do not depend on the others.
        regions: names of the regions that something acted in while the run was sampled, one per R; None if there are
            none.
        region_masks: where, at the end of the run, (R, B, T, H, W) in latent pixels, float32, 0-1, CPU; or None.

    Raises:
        UserError: if a score is not finite.
        ValueError: if these do not fit together.

    >>> from concept_attention.recording.example import example_recording
    >>> recording = example_recording()
    >>> tuple(recording.scores.shape)  # steps, layers, batch, concepts, tokens
    (2, 2, 1, 3, 24)
    >>> recording.layers, recording.sigmas, recording.grid, recording.image_size
    ((1, 3), (1.0, 0.5), (1, 4, 6), (64, 96))
    """

    scores: Tensor
    norms: Tensor
    layers: tuple[int, ...]
    layer_count: int
    default_layers: tuple[int, ...]
    steps: tuple[int, ...]
    sigmas: tuple[float, ...]
    grid: tuple[int, int, int]
    image_size: tuple[int, int]
    architecture: str
    mode: str
    concepts: tuple[Concept, ...]
    pad_scores: Tensor | None = None
    pad_count: int = 0
    metadata: Mapping[str, str] = field(default_factory=dict)
    covered_size: tuple[int, int] | None = None
    frame_counts: tuple[int, ...] | None = None
    averaged: Averaged | None = None
    offsets: Tensor | None = None
    presence: Tensor | None = None
    regions: tuple[str, ...] | None = None
    region_masks: Tensor | None = None

    def __repr__(self) -> str:
        if "scores" not in vars(self):  # inside of a `record` block
            return "<Recording, empty until its block ends>"
        what, (height, width) = "video" if self.video else "image", self.image_size
        return (
            f"<Recording of {shorten_names(self.concepts)}: {self.architecture}, mode {self.mode}, "
            f"scores {tuple(self.scores.shape)}, {what} {width} x {height}>"
        )

    def __post_init__(self) -> None:
        for name in (*StoredScores._fields, "region_masks"):
            tensor = getattr(self, name)
            object.__setattr__(self, name, None if tensor is None else tensor.detach())
        for name in ("layers", "default_layers", "steps", "sigmas", "grid", "image_size", "concepts"):
            object.__setattr__(self, name, tuple(getattr(self, name)))
        for name in ("covered_size", "frame_counts", "regions"):
            if getattr(self, name) is not None:
                object.__setattr__(self, name, tuple(getattr(self, name)))
        object.__setattr__(self, "metadata", {**self.metadata})
        check_recording(self)

    @property
    def reading(self) -> Reading:
        """What was read: `concept`, `cross` or `gram`, see `choices.Reading`. The mode says it."""
        return MODES[self.mode].reading

    @property
    def batch(self) -> int:
        """Images (or videos) recorded at once."""
        return self.scores.shape[2]

    @property
    def video(self) -> bool:
        """Whether the tokens have a time axis."""
        return self.grid[0] > 1 or self.frame_counts is not None

    @property
    def nbytes(self) -> int:
        """Memory the tensors take."""
        return sum(tensor.nbytes for tensor in self._comfy_cache_tensors())

    def _comfy_cache_tensors(self) -> tuple[Tensor, ...]:
        """All tensors: what ComfyUI (0.34 and newer) counts of a cached output where it is short of memory."""
        tensors = (getattr(self, name) for name in (*StoredScores._fields, "region_masks"))
        return tuple(tensor for tensor in tensors if tensor is not None)

    def at(self, *place: int | slice, device: str | torch.device = "cpu") -> StoredScores:
        """Absolute scores, norms and pad scores at a place along steps, layers and images, float32; and presence."""
        tensors = (getattr(self, name) for name in StoredScores._fields)
        stored = StoredScores(*(None if one is None else one[place].to(device) for one in tensors))  # type: ignore[arg-type]
        return to_absolute(stored, reads_norms(self.mode))


def named_masks(masks: Mapping[str, Tensor]) -> dict[str, Any]:
    """Masks (B, T, H, W) by name as the fields of a recording; nothing if there are none."""
    if not masks:
        return {}
    return {"regions": tuple(masks), "region_masks": torch.stack([mask.float() for mask in masks.values()])}


def in_float16(recording: Recording) -> Recording:
    """The recording with float16 scores, or itself if they do not fit into float16, which is logged."""
    if recording.offsets is not None:
        return recording
    half = to_half(recording.at(), reads_norms(recording.mode))
    return recording if half is None else replace(recording, **half._asdict())


def recording_nbytes(
    steps: int, layers: int, batch: int, concepts: int, tokens: int, dtype: torch.dtype, presence: int = 0
) -> int:
    """Memory a recording takes, in bytes. Pad scores, where there are any, count as one more concept.

    `presence` is the number of concepts whose presence is recorded.
    """
    columns = concepts + (dtype == torch.float16)  # with the offsets
    numbers = columns * tokens * dtype.itemsize + concepts * torch.float32.itemsize
    return steps * layers * batch * (numbers + presence * tokens * torch.float16.itemsize)
