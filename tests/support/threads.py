"""One call inside of another, from a thread of its own."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

Result = TypeVar("Result")


def in_a_thread(call: Callable[[], Result]) -> Result:
    """What a call returns, or raises, in a new thread; this one waits for it."""
    with ThreadPoolExecutor(1) as pool:
        return pool.submit(call).result(timeout=120)
