"""The running mean over a run's steps: one map per layer, however many steps there are."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from .builder import RecordingBuilder
from .half import StoredScores, reads_norms
from .shares import ShareRule


class AveragingBuilder(RecordingBuilder):
    """Keeps the mean over the steps of exactly what a mode averages: shares, or scores.

    Heatmaps in that mode, at its own temperature, are those of a recording of every step; `make_heatmaps` refuses what
    a mean cannot answer. One concept alone has share 1 everywhere, so the mean of its scores is kept.

    Args:
        layers: joint block indices to keep.
        rule: of the mode the recording is made for, at its own temperature.
        concepts: how many there are.
        dtype: of the result, float32 or float16; sums are float32.

    Raises:
        ValueError: as `RecordingBuilder`.
    """

    def __init__(
        self, layers: Sequence[int], rule: ShareRule, concepts: int, dtype: torch.dtype = torch.float32
    ) -> None:
        super().__init__(layers, dtype, reads_norms(rule.mode.name))
        self._rule = rule
        of_scores = rule.averages_scores or (concepts == 1 and not rule.mode.padded_tokens)
        self.averaged = "score" if of_scores else "share"
        self._sum = torch.zeros(())  # becomes (L, B, C, N)
        self._averaged_steps: list[tuple[int, float]] = []  # steps and their sigmas
        self._latest: tuple[Tensor, ...] = ()

    @property
    def committed(self) -> int:
        return len(self._averaged_steps)

    @property
    def latest(self) -> tuple[Tensor, ...]:
        return self._latest

    def _store(self, step: int, sigma: float, scores: Tensor, norms: Tensor, *pads: Tensor) -> None:
        if self.averaged == "score":
            values = self._rule.scores(scores, norms)
        else:
            values = self._rule.values(scores, norms, *pads)
        self._sum = self._sum + values  # never in place: the values may be a view of all that the step delivered
        self._averaged_steps.append((step, sigma))
        self._latest = (scores, norms, *pads)

    def _pop_steps(self) -> tuple[tuple[int, ...], tuple[float, ...], StoredScores]:
        steps, sigmas = zip(*self._averaged_steps, strict=True)
        mean = self._sum / len(steps)
        self._sum, self._averaged_steps, self._latest = torch.zeros(()), [], ()
        tensors = [mean]
        if self.averaged == "share":
            tensors = [self._score_like(share) for share in (mean, *self._pad_shares(mean))]
        scores, *pads = (tensor[None] for tensor in tensors)
        stored = self._halved(StoredScores(scores, torch.ones(scores.shape[:-1]), *pads))
        return (steps[-1],), (sum(sigmas) / len(sigmas),), stored

    def _pad_shares(self, mean: Tensor) -> list[Tensor]:
        """What the concepts leave to each pad token, (L, B, N), if there are any."""
        count = self._rule.pad_count
        return [(1 - mean.sum(dim=-2)) / count] if count else []

    def _score_like(self, share: Tensor) -> Tensor:
        """Scores whose softmax, at the mode's temperature, is the share."""
        least = torch.finfo(torch.float32).tiny  # shares can round to zero
        return self._rule.temperature * share.clamp_min(least).log()
