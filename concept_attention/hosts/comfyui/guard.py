"""Errors of recording become reasons: a recorded run never fails where the plain one works."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import comfy.model_management

from ..reasons import NotRecordable as NotRecordable
from ..reasons import reason_of


@contextmanager
def guarded(report: Callable[[str], None]) -> Iterator[None]:
    """Catch what goes wrong in recording and report it as a reason. Never put it around the model's own work.

    Interrupts are not caught, nor is running out of memory: ComfyUI frees memory and tries again.
    """
    try:
        yield
    except Exception as error:
        if is_out_of_memory(error):
            raise
        report(reason_of(error))


def is_out_of_memory(error: Exception) -> bool:
    """Whether a device ran out of memory, as this ComfyUI tells it."""
    known = getattr(comfy.model_management, "is_oom", None)
    return bool(known(error)) if known else isinstance(error, comfy.model_management.OOM_EXCEPTION)
