"""Work done ahead of time by threads, in order and so much at a time."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Executor, Future
from typing import TypeVar

Given = TypeVar("Given")
Made = TypeVar("Made")


def ahead(threads: Executor, work: Callable[[Given], Made], given: Iterable[Given], window: int) -> Iterator[Made]:
    """As `map(work, given)`, with up to `window` results computed before they are asked for.

    >>> from concurrent.futures import ThreadPoolExecutor
    >>> with ThreadPoolExecutor(2) as threads:
    ...     list(ahead(threads, abs, [-3, 2, -1], window=2))
    [3, 2, 1]
    """
    waiting: deque[Future[Made]] = deque()
    try:
        for one in given:
            waiting.append(threads.submit(work, one))
            if len(waiting) > window:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    finally:
        for future in waiting:
            future.cancel()
