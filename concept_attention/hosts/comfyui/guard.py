"""Errors of recording become reasons: a recorded run never fails where the plain one works."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import comfy.model_management

from ...errors import UserError

LONGEST_TEXT = 240  # of another error's message within a reason

logger = logging.getLogger("concept_attention")


class NotRecordable(Exception):
    """What is being sampled cannot be recorded; the text says why, for users to read, as part of a sentence."""


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


def reason_of(error: Exception) -> str:
    """Why there is no recording, as part of a sentence. The log gets the traceback of an unexpected error."""
    if isinstance(error, (NotRecordable, UserError)):
        return str(error).rstrip(".")
    logger.warning("Concepts could not be recorded; sampling goes on.", exc_info=error)
    text = " ".join(str(error).split())
    text = text if len(text) <= LONGEST_TEXT else f"{text[:LONGEST_TEXT]}..."
    return f"recording failed with {type(error).__name__}{': ' if text else ''}{text} (the log has the details)"
