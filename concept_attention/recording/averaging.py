"""The running mean over a run's steps: one map per layer, however many steps there are."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from .builder import RecordingBuilder
from .half import StoredScores, log_odds_to_half, reads_norms
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
        self._presence: Tensor | None = None  # sum of the log-odds, (L, B, C, N), if there are any
        self._averaged_steps: list[tuple[int, float]] = []  # steps and their sigmas
        self._latest: tuple[Tensor, ...] = ()
        self._latest_presence: Tensor | None = None

    @property
    def committed(self) -> int:
        return len(self._averaged_steps)

    @property
    def latest(self) -> tuple[Tensor, ...]:
        return self._latest

    def presence_in(self, step: int) -> Tensor | None:
        last = self._averaged_steps[-1][0] if self._averaged_steps else None
        return self._latest_presence if last == step else None

    def _store(self, step: int, sigma: float, delivered: StoredScores) -> None:
        scores, norms, pads, _, presence = delivered
        if self.averaged == "score":
            values = self._rule.scores(scores, norms)
        else:
            values = self._rule.values(scores, norms, pads)
        self._sum = self._sum + values  # never in place: the values may be a view of all that the step delivered
        self._averaged_steps.append((step, sigma))
        self._latest_presence = None if presence is None else presence.clone()
        if presence is not None:
            self._presence = presence.clone() if self._presence is None else self._presence + presence
        self._latest = (scores, norms) if pads is None else (scores, norms, pads)

    def _resize(self, resized: Callable[[Tensor], Tensor]) -> None:
        self._sum = resized(self._sum)
        self._presence = None if self._presence is None else resized(self._presence)

    def _pop_steps(self) -> tuple[tuple[int, ...], tuple[float, ...], StoredScores]:
        steps, sigmas = zip(*self._averaged_steps, strict=True)
        mean = self._sum / len(steps)
        presence = None if self._presence is None else log_odds_to_half(self._presence / len(steps))[None]
        self._sum, self._presence, self._averaged_steps, self._latest = torch.zeros(()), None, [], ()
        self._latest_presence = None
        tensors = [mean]
        if self.averaged == "share":
            tensors = [self._score_like(share) for share in (mean, *self._pad_shares(mean))]
        scores, *pads = (tensor[None] for tensor in tensors)
        stored = StoredScores(scores, torch.ones(scores.shape[:-1]), *pads)._replace(presence=presence)
        stored = self._halved(stored)
        return (steps[-1],), (sum(sigmas) / len(sigmas),), stored

    def _pad_shares(self, mean: Tensor) -> list[Tensor]:
        """What the concepts leave to each pad token, (L, B, N), if there are any."""
        count = self._rule.pad_count
        return [(1 - mean.sum(dim=-2)) / count] if count else []

    def _score_like(self, share: Tensor) -> Tensor:
        """Scores whose softmax, at the mode's temperature, is the share."""
        least = torch.finfo(torch.float32).tiny  # shares can round to zero
        return self._rule.temperature * share.clamp_min(least).log()
