"""The builder that turns the scores of one run into a recording."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from ..concepts import Concept
from ..errors import UserError
from ..scores import Averaged
from .half import StoredScores, reads_norms, to_absolute, to_half
from .recording import Recording, named_masks


class RecordingBuilder:
    """Collects the scores of one run and builds its recording.

    Per model evaluation: `begin_evaluation`, then `add_layer` for every kept joint block. Per sampler step:
    `commit`, which keeps the latest evaluation. At the end: `build`.

    Args:
        layers: joint block indices to keep.
        dtype: of the scores, float32 or float16; a run that float16 cannot hold stays float32.
        by_norms: of the mode that the recording is made for, see `reads_norms`; only float16 needs to know.

    Attributes:
        averaged: see `Recording`.

    Raises:
        ValueError: if there are no layers, or for another dtype.
    """

    averaged: Averaged | None = None

    def __init__(self, layers: Sequence[int], dtype: torch.dtype = torch.float32, by_norms: bool = False) -> None:
        if not layers or dtype not in (torch.float32, torch.float16):
            raise ValueError(f"A recording needs layers, and float32 or float16; got {tuple(layers)} and {dtype}.")
        self._layers = tuple(sorted(set(layers)))
        self._dtype = dtype
        self._by_norms = by_norms
        self._pending: dict[int, tuple[Tensor, ...]] = {}  # layers of the evaluation that is not committed yet
        self._shapes: tuple[tuple[int, ...], ...] = ()
        self._steps: list[tuple[int, float, StoredScores]] = []  # number, sigma, scores of all layers

    @property
    def committed(self) -> int:
        """Steps kept so far."""
        return len(self._steps)

    @property
    def latest(self) -> tuple[Tensor, ...]:
        """Scores (L, B, C, N), norms (L, B, C) and, if any, pad scores (L, B, N) of the step kept last."""
        return _delivered(to_absolute(self._steps[-1][2], self._by_norms))

    def begin_evaluation(self) -> None:
        """Forget what the current evaluation delivered."""
        self._pending = {}

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
        if scores.ndim != 3 or norms.shape != scores.shape[:2] or any(pad.shape != (batch, tokens) for pad in pads):
            got = [tuple(tensor.shape) for tensor in (scores, norms, *pads)]
            raise ValueError(f"A layer needs scores (B, C, N), norms (B, C), pad scores (B, N), got {got}.")
        self._pending[layer] = tuple(tensor.detach().float() for tensor in (scores, norms, *pads))

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
        delivered, self._pending = self._pending, {}
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
        scores, norms, *pads = (part.unflatten(1, shape) for part, shape in zip(parts, self._shapes, strict=True))
        self._store(step, sigma, scores, norms, *pads)
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
        region_masks: Mapping[str, Tensor] | None = None,
    ) -> Recording:
        """The recording of the committed steps, which it takes over: the builder is empty afterwards.

        Args: see the attributes of `Recording`; `region_masks` are (B, T, H, W), by the names of their regions.

        Raises:
            UserError: if no step was committed.
            ValueError: if something does not fit together.
        """
        if not self.committed:
            raise UserError(
                f"Nothing was recorded: no step of this run delivered all of the layers {self._layers}. "
                "Sample with the model that concept attention was set up for, over steps it records."
            )
        if self._dtype == torch.float16 and self._by_norms != reads_norms(mode):
            raise ValueError(f"by_norms must be {reads_norms(mode)} for mode {mode}, got {self._by_norms}.")
        steps, sigmas, stored = self._pop_steps()
        return Recording(
            **stored._asdict(),
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
            pad_count=0 if stored.pad_scores is None else pad_count,
            metadata=metadata or {},
            covered_size=covered_size,
            frame_counts=frame_counts,
            averaged=self.averaged,
            **named_masks(region_masks or {}),
        )

    def _store(self, step: int, sigma: float, scores: Tensor, norms: Tensor, *pads: Tensor) -> None:
        """Keep a step: scores (L, B, C, N), norms (L, B, C), pad scores (L, B, N), float32, views of one tensor."""
        # The norms are cloned because a view of them would keep the float32 scores in memory.
        self._steps.append((step, sigma, self._halved(StoredScores(scores, norms.clone(), *pads))))

    def _pop_steps(self) -> tuple[tuple[int, ...], tuple[float, ...], StoredScores]:
        """Give up the steps: their numbers, their sigmas, and their scores with S as the first axis."""
        steps = tuple(step for step, _, _ in self._steps)
        sigmas = tuple(sigma for _, sigma, _ in self._steps)
        return steps, sigmas, self._pop_scores()

    def _halved(self, stored: StoredScores) -> StoredScores:
        """The scores in float16, if that is wanted; falls back to float32, for good, before it overflows."""
        half = to_half(stored, self._by_norms) if self._dtype == torch.float16 else None
        if half is None:
            self._dtype = torch.float32
        return half or stored

    def _pop_scores(self) -> StoredScores:
        """Stack the steps, last one first; each is freed once copied."""
        last = self._steps[-1][2]  # of the final dtype
        stacked = [None if part is None else part.new_empty((len(self._steps), *part.shape)) for part in last]
        while self._steps:
            step = len(self._steps) - 1
            stored = self._steps.pop()[2]
            parts = stored if self._dtype == torch.float16 else to_absolute(stored, self._by_norms)
            for together, part in zip(stacked, parts, strict=True):
                if together is not None and part is not None:
                    together[step] = part
        return StoredScores(*stacked)  # type: ignore[arg-type]


def _delivered(stored: StoredScores) -> tuple[Tensor, ...]:
    """Absolute scores as `RecordingBuilder.add_layer` takes them."""
    return tuple(part for part in stored[:3] if part is not None)
