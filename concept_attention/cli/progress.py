"""What is said on stderr while work goes on."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager


def say(text: str, quiet: bool) -> None:
    """A line on what happens next."""
    if not quiet:
        print(text, file=sys.stderr, flush=True)


@contextmanager
def progress_bar(what: str, unit: str, quiet: bool) -> Iterator[Callable[[int, int], None]]:
    """A bar that the function it gives, called with (done, in all), moves on; only on a terminal, gone at the end."""
    from tqdm import tqdm

    with tqdm(desc=what, unit=unit, disable=True if quiet else None, leave=False) as bar:

        def move(done: int, total: int) -> None:
            bar.total = total
            bar.update(done - bar.n)

        yield move


class Clock:
    """Seconds that the stages of a command take."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}
        self._last = time.monotonic()

    def lap(self, stage: str) -> None:
        """The stage that ends here took the time since the last one ended."""
        now = time.monotonic()
        self.seconds[stage] = round(now - self._last, 3)
        self._last = now
