"""What is said on stderr while work goes on: on a terminal only, so that logs hold nothing but warnings and errors."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager


def say(text: str, quiet: bool) -> None:
    """A line on what happens next."""
    if not quiet and sys.stderr.isatty():
        print(text, file=sys.stderr, flush=True)


@contextmanager
def progress_bar(what: str, unit: str, total: int, quiet: bool) -> Iterator[Callable[[int, int], None]]:
    """A bar that the function it gives, called with (done, in all), moves on; it goes when the block ends."""
    from tqdm import tqdm

    hidden = quiet or not sys.stderr.isatty()
    with tqdm(desc=what, unit=f" {unit}", total=total, disable=hidden, leave=False) as bar:

        def move(done: int, total: int) -> None:
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
