"""A recording: the score of every concept at every image token, for every kept step and layer."""

from __future__ import annotations

import logging
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor

from ..concepts import Concept
from ..scores import Averaged
from .checks import check_recording

logger = logging.getLogger("concept_attention")


@dataclass(frozen=True, eq=False)
class Recording:
    """What one run of a model says about its concepts; heatmaps are made from it without sampling again.

    Attributes:
        scores: dot products, (S, L, B, C, N), float32 or float16, CPU. Concept vectors are linearly
            normalised where the mode's `vectors` is `linear`, raw otherwise.
        norms: L2 norms of the concept vectors, (S, L, B, C), float32, CPU; `sd3` reads scores / norms.
        layers: joint block index of every L, ascending.
        layer_count: joint blocks the model has.
        default_layers: what `auto` means for this architecture.
        steps: 0-based sampler step of every S.
        sigmas: noise level of every S, 0 (clean) to 1 (noise).
        grid: token grid (T, H, W), N = T * H * W row-major; T is 1 for pictures.
        image_size: pixels (height, width).
        covered_size: pixels (height, width) that the grid covers where that is more than the picture, of which it
            begins at the upper left; None where the grid ends with the picture.
        architecture: such as `flux`.
        mode: key of `MODES` the scores were recorded for.
        concepts: one per C.
        pad_scores: score of one of the equal pad tokens, (S, L, B, N), dtype of scores; or None.
        pad_count: how many pad tokens it stands for.
        metadata: free text, such as prompt, model, versions, seed.
        frame_counts: picture frames that each T of a video stands for, such as (1, 4, 4); None where that is one each.
        averaged: what the only S is the mean of over all recorded steps, of which `steps` and `sigmas` then have the
            last step and the mean. `score`: of the mode's scores. `share`: of its shares at its own temperature; scores
            are that temperature times their logarithm, so their softmax is the mean share. Norms are 1 in both. None:
            every step is kept.

    Raises:
        ValueError: if these do not fit together, or a score is not finite.
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

    def __post_init__(self) -> None:
        for name in ("scores", "norms", "pad_scores"):
            tensor = getattr(self, name)
            object.__setattr__(self, name, None if tensor is None else tensor.detach())
        for name in ("layers", "default_layers", "steps", "sigmas", "grid", "image_size", "concepts"):
            object.__setattr__(self, name, tuple(getattr(self, name)))
        for name in ("covered_size", "frame_counts"):
            if getattr(self, name) is not None:
                object.__setattr__(self, name, tuple(getattr(self, name)))
        object.__setattr__(self, "metadata", {**self.metadata})
        check_recording(self)

    @property
    def batch(self) -> int:
        """Pictures (or videos) recorded at once."""
        return self.scores.shape[2]

    @property
    def video(self) -> bool:
        """Whether the tokens have a time axis."""
        return self.grid[0] > 1 or self.frame_counts is not None

    @property
    def nbytes(self) -> int:
        """Memory the tensors take."""
        tensors = (self.scores, self.norms, self.pad_scores)
        return sum(tensor.nbytes for tensor in tensors if tensor is not None)


class RecordingBuilder:
    """Collect the scores of one run and become its recording.

    Per model evaluation: `begin_evaluation`, then `add_layer` for every kept joint block. Per sampler step:
    `commit`, which keeps the latest evaluation. At the end: `build`.

    Args:
        layers: joint block indices to keep.
        dtype: of the scores, float32 or float16; a run that float16 cannot hold stays float32.

    Attributes:
        averaged: as of `Recording`.

    Raises:
        ValueError: if there are no layers, or for another dtype.
    """

    averaged: Averaged | None = None

    def __init__(self, layers: Sequence[int], dtype: torch.dtype = torch.float32) -> None:
        if not layers or dtype not in (torch.float32, torch.float16):
            raise ValueError(
                f"A recording needs layers and float32 or float16 scores, got {tuple(layers)} and {dtype}."
            )
        self._layers = tuple(sorted(set(layers)))
        self._dtype = dtype
        self._delivered: dict[int, tuple[Tensor, ...]] = {}
        self._shapes: tuple[tuple[int, ...], ...] = ()
        # Of every step its number, its sigma, and the scores, norms and pad scores of all layers.
        self._steps: list[tuple[int, float, tuple[Tensor, ...]]] = []

    @property
    def committed(self) -> int:
        """Steps kept so far."""
        return len(self._steps)

    @property
    def latest(self) -> tuple[Tensor, ...]:
        """Of the step kept last: scores (L, B, C, N), norms (L, B, C), and pad scores (L, B, N) where there are any."""
        return self._steps[-1][2]

    def begin_evaluation(self) -> None:
        """Forget what the current evaluation delivered."""
        self._delivered = {}

    def add_layer(self, layer: int, scores: Tensor, norms: Tensor, pad_scores: Tensor | None = None) -> None:
        """Take the scores of one joint block; they stay on their device until the commit.

        Args:
            layer: index of the joint block.
            scores: of every concept, (B, C, N), float.
            norms: L2 norms of the concept vectors, (B, C), float.
            pad_scores: of one of the equal pad tokens, (B, N), float, if the model has them.

        Raises:
            ValueError: if the layer is not to be kept, or the shapes do not fit together.
        """
        if layer not in self._layers:
            raise ValueError(f"Layer {layer} is not recorded: this recording keeps {self._layers}.")
        pads = () if pad_scores is None else (pad_scores,)
        batch, tokens = scores.shape[0], scores.shape[-1]
        if (
            scores.ndim != 3
            or norms.shape != scores.shape[:2]
            or any(p.shape != (batch, tokens) for p in pads)
        ):
            got = [tuple(tensor.shape) for tensor in (scores, norms, *pads)]
            raise ValueError(f"A layer needs scores (B, C, N), norms (B, C), pad scores (B, N), got {got}.")
        self._delivered[layer] = tuple(tensor.detach().float() for tensor in (scores, norms, *pads))

    def commit(self, step: int, sigma: float) -> bool:
        """Keep the latest evaluation as the one of this step; one copy to the CPU.

        Args:
            step: 0-based sampler step.
            sigma: its noise level, 0-1.

        Returns:
            Whether there was a complete evaluation since the last commit: a cache may have skipped the step.

        Raises:
            ValueError: if the shapes differ between layers or from the steps before.
        """
        delivered, self._delivered = self._delivered, {}
        if len(delivered) < len(self._layers):
            return False
        layers = [delivered[layer] for layer in self._layers]
        shapes = [tuple(tuple(tensor.shape) for tensor in tensors) for tensors in layers]
        self._shapes = self._shapes or shapes[0]
        for got in shapes:
            if got != self._shapes:
                raise ValueError(
                    "Batch, concepts and tokens must not change between the layers and steps of a run: "
                    f"expected {self._shapes}, got {got} in step {step}."
                )
        device = layers[0][0].device
        together = torch.cat([tensor.to(device).flatten() for tensors in layers for tensor in tensors]).cpu()
        parts = together.view(len(layers), -1).split([math.prod(shape) for shape in self._shapes], dim=1)
        scores, norms, *pads = (
            part.unflatten(1, shape) for part, shape in zip(parts, self._shapes, strict=True)
        )
        self._keep(step, sigma, scores, norms, *pads)
        return True

    def build(
        self,
        *,
        layer_count: int,
        default_layers: Sequence[int],
        grid: tuple[int, int, int],
        image_size: tuple[int, int],
        architecture: str,
        mode: str,
        concepts: Sequence[Concept],
        pad_count: int = 0,
        metadata: Mapping[str, str] | None = None,
        covered_size: tuple[int, int] | None = None,
        frame_counts: tuple[int, ...] | None = None,
    ) -> Recording:
        """The recording of the committed steps, which it takes over: the builder is empty afterwards.

        Args: as the attributes of `Recording`.

        Raises:
            ValueError: if no step was committed, or something does not fit together.
        """
        if not self.committed:
            raise ValueError(
                f"Nothing was recorded: no step of this run delivered all of the layers {self._layers}. "
                "Sample with the model that concept attention was set up for, over steps it records."
            )
        steps, sigmas, (scores, norms, *pads) = self._take()
        return Recording(
            scores=scores,
            norms=norms,
            layers=self._layers,
            layer_count=layer_count,
            default_layers=tuple(default_layers),
            steps=steps,
            sigmas=sigmas,
            grid=grid,
            image_size=image_size,
            architecture=architecture,
            mode=mode,
            concepts=tuple(concepts),
            pad_scores=pads[0] if pads else None,
            pad_count=pad_count,
            metadata=metadata or {},
            covered_size=covered_size,
            frame_counts=frame_counts,
            averaged=self.averaged,
        )

    def _keep(self, step: int, sigma: float, scores: Tensor, norms: Tensor, *pads: Tensor) -> None:
        """Keep a step: scores (L, B, C, N), norms (L, B, C), pad scores (L, B, N), float32, views of one tensor."""
        self._choose_dtype(scores, *pads)
        # The norms are cloned because a view of them would keep the float32 scores in memory.
        tensors = (scores.to(self._dtype), norms.clone(), *(pad.to(self._dtype) for pad in pads))
        self._steps.append((step, sigma, tensors))

    def _take(self) -> tuple[tuple[int, ...], tuple[float, ...], list[Tensor]]:
        """Steps, their sigmas, and their tensors with S as the first axis; they are gone then."""
        steps = tuple(step for step, _, _ in self._steps)
        sigmas = tuple(sigma for _, sigma, _ in self._steps)
        return steps, sigmas, self._take_tensors()

    def _choose_dtype(self, *tensors: Tensor) -> None:
        """Fall back to float32, for good, before float16 overflows."""
        if self._dtype == torch.float16 and not _fit_float16(tensors):
            self._dtype = torch.float32

    def _take_tensors(self) -> list[Tensor]:
        """Stack the steps, last one first; each is freed once copied."""
        count = len(self._steps)
        dtypes = (self._dtype, torch.float32, self._dtype)
        stacked = [
            torch.empty((count, *tensor.shape), dtype=dtype)
            for tensor, dtype in zip(self._steps[0][2], dtypes, strict=False)
        ]
        while self._steps:
            step = len(self._steps) - 1
            for whole, part in zip(stacked, self._steps.pop()[2], strict=True):
                whole[step] = part
        return stacked


def in_float16(recording: Recording) -> Recording:
    """The recording with scores that take half the memory; itself if float16 cannot hold them, which is logged."""
    tensors = [tensor for tensor in (recording.scores, recording.pad_scores) if tensor is not None]
    if not _fit_float16(tensors):
        return recording
    scores, *pads = (tensor.half() for tensor in tensors)
    return replace(recording, scores=scores, pad_scores=pads[0] if pads else None)


def _fit_float16(tensors: Sequence[Tensor]) -> bool:
    peak = max(float(extreme.abs()) for tensor in tensors for extreme in tensor.aminmax())
    fits = peak <= torch.finfo(torch.float16).max
    if not fits:
        logger.warning("Scores reach %.3g, beyond float16: the recording stays in float32.", peak)
    return fits


def recording_nbytes(
    steps: int, layers: int, batch: int, concepts: int, tokens: int, dtype: torch.dtype
) -> int:
    """Memory a recording takes, in bytes. Pad scores, where there are any, count as one more concept."""
    return steps * layers * batch * concepts * (tokens * dtype.itemsize + torch.float32.itemsize)
