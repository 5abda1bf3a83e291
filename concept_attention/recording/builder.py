"""The builder that turns the scores of one run into a recording."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping, Sequence

import torch
from torch import Tensor

from ..concepts import Concept
from ..errors import UserError
from ..scores import Averaged
from ..text_attention import resize_scores
from .half import StoredScores, log_odds_to_half, reads_norms, to_absolute, to_half
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
        self._pending: dict[int, tuple[Tensor | None, ...]] = {}  # layers of the evaluation that is not committed yet
        self._shapes: tuple[tuple[int, ...] | None, ...] = ()
        self._steps: list[tuple[int, float, StoredScores]] = []  # number, sigma, scores of all layers

    @property
    def committed(self) -> int:
        """Steps kept so far."""
        return len(self._steps)

    @property
    def latest(self) -> tuple[Tensor, ...]:
        """Scores (L, B, C, N), norms (L, B, C) and, if any, pad scores (L, B, N) of the step kept last."""
        return _delivered(to_absolute(self._steps[-1][2], self._by_norms))

    def presence_in(self, step: int) -> Tensor | None:
        """Log-odds (L, B, C, N) of the step kept last, if that is this one and there are any."""
        last, _, stored = self._steps[-1] if self._steps else (None, 0.0, None)
        return None if stored is None or last != step else stored.presence

    def resize(self, grid: Sequence[int], wanted: Sequence[int]) -> None:
        """Bring the steps kept so far to another token grid, bilinearly: the latent has changed its size.

        Args:
            grid, wanted: tokens (T, H, W) of the steps kept so far and of those to come, the same number of frames.
        """
        self._shapes = ()
        self._resize(functools.partial(_resized, grid=grid, wanted=wanted))

    def begin_evaluation(self) -> None:
        """Forget what the current evaluation delivered."""
        self._pending = {}

    def add_layer(
        self,
        layer: int,
        scores: Tensor,
        norms: Tensor,
        pad_scores: Tensor | None = None,
        presence: Tensor | None = None,
    ) -> None:
        """Take the scores of one joint block; they stay on their device until the commit.

        Args:
            layer: index of the joint block.
            scores: of every concept, (B, C, N), float.
            norms: L2 norms of the concept vectors, (B, C), float.
            pad_scores: of one of the equal pad tokens, (B, N), float, if the model has them.
            presence: log-odds of every concept against the null words, (B, C, N), float, if there are any.

        Raises:
            ValueError: if the layer is not to be kept, or the shapes do not fit together.
        """
        if layer not in self._layers:
            raise ValueError(f"Layer {layer} is not recorded: this recording keeps {self._layers}.")
        delivered = (scores, norms, pad_scores, presence)
        batch, tokens = scores.shape[0], scores.shape[-1]
        expected = (scores.shape, scores.shape[:2], (batch, tokens), scores.shape)
        fit = [one is None or one.shape == shape for one, shape in zip(delivered, expected, strict=True)]
        if scores.ndim != 3 or not all(fit):
            got = [tuple(tensor.shape) for tensor in delivered if tensor is not None]
            raise ValueError(
                f"A layer needs scores (B, C, N), norms (B, C), pad scores (B, N), presence (B, C, N), got {got}."
            )
        self._pending[layer] = tuple(None if tensor is None else tensor.detach().float() for tensor in delivered)

    def keep_rows(self, rows: slice) -> None:
        """Keep only these rows of the batch of what the current evaluation delivered."""
        parts = self._pending.items()
        self._pending = {layer: tuple(one if one is None else one[rows] for one in each) for layer, each in parts}

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
        shapes = [tuple(None if tensor is None else tuple(tensor.shape) for tensor in tensors) for tensors in layers]
        self._shapes = self._shapes or shapes[0]
        for got in shapes:
            if got != self._shapes:
                raise ValueError(
                    "Batch, concepts and tokens must not change between the layers and steps of a run: "
                    f"expected {self._shapes}, got {got} in step {step}."
                )
        self._store(step, sigma, self._gather(layers))
        return True

    def _gather(self, layers: Sequence[tuple[Tensor | None, ...]]) -> StoredScores:
        """What the layers delivered, with L as the first axis: views of one tensor on the CPU."""
        flat = [[one.flatten() for one in tensors if one is not None] for tensors in layers]
        device = flat[0][0].device
        together = torch.cat([one.to(device) for tensors in flat for one in tensors]).cpu()
        parts = iter(together.view(len(layers), -1).split([len(one) for one in flat[0]], dim=1))
        tensors = [None if shape is None else next(parts).unflatten(1, shape) for shape in self._shapes]
        scores, norms, pads, presence = tensors
        return StoredScores(scores, norms, pads, None, presence)  # type: ignore[arg-type]

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

    def _store(self, step: int, sigma: float, delivered: StoredScores) -> None:
        """Keep a step: scores (L, B, C, N), norms (L, B, C), pad scores (L, B, N), presence (L, B, C, N), float32."""
        presence = delivered.presence
        # Views of what was delivered would keep all of it in memory.
        if presence is not None:
            delivered = delivered._replace(presence=log_odds_to_half(presence), scores=delivered.scores.clone())
        self._steps.append((step, sigma, self._halved(delivered._replace(norms=delivered.norms.clone()))))

    def _resize(self, resized: Callable[[Tensor], Tensor]) -> None:
        """Apply a function to everything that is kept per token, (..., N)."""
        for index, (step, sigma, stored) in enumerate(self._steps):
            whole = to_absolute(stored, self._by_norms)
            parts = {
                name: resized(part)
                for name in ("scores", "pad_scores", "presence")
                if (part := getattr(whole, name)) is not None
            }
            self._steps[index] = (step, sigma, self._halved(whole._replace(**parts)))

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


def _resized(part: Tensor, grid: Sequence[int], wanted: Sequence[int]) -> Tensor:
    """What is kept per token, (..., N), on another token grid."""
    rows = resize_scores(part.float().reshape(1, -1, part.shape[-1]), grid, wanted, logarithms=False)
    return rows.reshape(*part.shape[:-1], -1).to(part.dtype)


def _delivered(stored: StoredScores) -> tuple[Tensor, ...]:
    """Absolute scores as `RecordingBuilder.add_layer` takes them."""
    return tuple(part for part in stored[:3] if part is not None)
