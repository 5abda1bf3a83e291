"""Which run a hook belongs to: a module may be called by several threads, and a hook acts only in the run it is for."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

_ENTERED: ContextVar[tuple[Any, ...]] = ContextVar("concept_attention_entered", default=())


def entered() -> tuple[Any, ...]:
    """The runs that this thread, or asynchronous task, is inside of, outermost first."""
    return _ENTERED.get()


def is_own(run: Any) -> bool:
    """Whether this thread is inside of a run."""
    return any(one is run for one in entered())


@contextmanager
def own_run(run: Any) -> Iterator[None]:
    """Be inside of a run for a while; other threads are not."""
    _ENTERED.set((*entered(), run))
    try:
        yield
    finally:
        _ENTERED.set(tuple(one for one in entered() if one is not run))
