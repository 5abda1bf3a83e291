"""What every engine gets: how to make a worker, and the shards in the portions that workers take."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeVar

from ..items import Shard, Sink, Source
from ..settings import LabelSettings
from ..worker import Outcome, Worker

_PORTIONS = 8  # per worker: enough that none waits long for the others at the end
_LONGEST = 16  # shards; a worker that dies loses what it has not finished of them
One = TypeVar("One")


@dataclass(frozen=True)
class Crew:
    """How to make a worker; it is pickled for them.

    Attributes:
        settings, source, sink: of the work.
        workers: how many there are on this machine; they share its cores.
    """

    settings: LabelSettings
    source: Source
    sink: Sink
    workers: int = 1

    @property
    def threads(self) -> int:
        """Cores of one worker."""
        return max(1, (os.cpu_count() or 1) // self.workers)

    def worker(self, device: str, on_picture: Callable[[int], None] = lambda count: None) -> Worker:
        """Load the model on a device."""
        import torch

        from ..labeller import ConceptLabeller

        if self.workers > 1:
            torch.set_num_threads(self.threads)
        labeller = ConceptLabeller(self.settings, device)
        return Worker(labeller, self.source, self.sink, min(4, self.threads), on_picture)


def finished_silently(silent: Sequence[Shard], missing: Sequence[Shard]) -> list[Outcome]:
    """Outcomes of shards that a worker has finished and was killed before it said so."""
    names = {shard.name for shard in missing}
    return [Outcome(shard.name, shard.count or 0) for shard in silent if shard.name not in names]


def portions(shards: Sequence[Shard], workers: int) -> list[Sequence[Shard]]:
    """Shards in portions of neighbours: in one, a worker reads ahead from one shard to the next.

    >>> [len(portion) for portion in portions([Shard(str(n), "", None) for n in range(20)], workers=1)]
    [3, 3, 3, 3, 3, 3, 2]
    """
    size = min(_LONGEST, max(1, -(-len(shards) // (_PORTIONS * workers))))
    return [shards[start : start + size] for start in range(0, len(shards), size)]
