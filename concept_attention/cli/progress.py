"""Progress on stderr, shown on terminals only, so that logs hold nothing but warnings and errors."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager


def shows_progress(quiet: bool) -> bool:
    """Whether progress is shown."""
    return not quiet and sys.stderr.isatty()


def print_stage(text: str, quiet: bool) -> None:
    """Print a line that names the stage that begins now."""
    if shows_progress(quiet):
        print(text, file=sys.stderr, flush=True)


@contextmanager
def progress_bar(title: str, unit: str, total: int, quiet: bool) -> Iterator[Callable[[int, int], None]]:
    """Show a progress bar until the block ends; yields the callback (done, total) that updates it."""
    from tqdm import tqdm

    hidden = not shows_progress(quiet)
    with tqdm(desc=title, unit=f" {unit}", total=total, disable=hidden, leave=False) as bar:

        def update(done: int, total: int) -> None:
            bar.update(done - bar.n)

        yield update


class Clock:
    """Durations of a command's stages, in seconds."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}
        self._last = time.monotonic()

    def lap(self, stage: str) -> None:
        """End a stage; it began when the previous one ended."""
        now = time.monotonic()
        self.seconds[stage] = round(now - self._last, 3)
        self._last = now
