"""The prompts of one evaluation, and the chunks of a batch that the model evaluates at once: one prompt's rows each."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from ...joint_text import Rows
from .regions import Region, ScoreAccumulator


class PositivePrompts(NamedTuple):
    """The positive prompts in one call of CALC_COND_BATCH.

    Attributes:
        accumulator: of the evaluation.
        list_index: of the positive list among the evaluated ones.
        waiting: by prompt id, number and region (see `ScoreAccumulator.register`) of what was not evaluated yet.
    """

    accumulator: ScoreAccumulator
    list_index: int
    waiting: dict[Any, list[tuple[int, Region]]]

    def choose(self, chunks: Sequence[tuple[int, Any]], x: Tensor) -> tuple[list[tuple[int, int, Region]], bool]:
        """The positive prompts that one call of the model evaluates; they wait no longer.

        Args:
            chunks: index of the list and id of the prompt of every chunk of the batch.
            x: the batch.

        Returns:
            Chunk, number and region of each, and whether a chunk is another part of the latent than its region.
        """
        chosen, parts = [], False
        for chunk, (index, prompt) in enumerate(chunks):
            waiting = self.waiting.get(prompt, []) if index == self.list_index else []
            if waiting and _fits(x, len(chunks), waiting[0][1]):
                chosen.append((chunk, *waiting.pop(0)))
            elif waiting:
                parts = True
        return chosen, parts


def chunk_rows(chunks: Sequence[int], batch: int) -> Rows:
    """Batch rows of some chunks; neighbouring ones are selected without a copy."""
    first, last = chunks[0], chunks[-1]
    if list(chunks) == list(range(first, last + 1)):
        return slice(first * batch, (last + 1) * batch)
    return torch.tensor([chunk * batch + row for chunk in chunks for row in range(batch)])


def _fits(x: Tensor, chunks: int, region: Region) -> bool:
    """Whether each chunk of a batch has the size of a region."""
    batch, _, *size = x.shape
    return (batch // chunks, *([1] * (3 - len(size))), *size) == region.size
