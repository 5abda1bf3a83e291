"""Why something is not recorded, as part of a sentence for users."""

from __future__ import annotations

import logging

from ..errors import UserError

LONGEST_TEXT = 240  # of another error's message within a reason

logger = logging.getLogger("concept_attention")


class NotRecordable(Exception):
    """What is being sampled cannot be recorded; the text says why, for users to read, as part of a sentence."""


def reason_of(error: Exception) -> str:
    """Why there is no recording, as part of a sentence. The log gets the traceback of an unexpected error."""
    if isinstance(error, (NotRecordable, UserError)):
        return str(error).rstrip(".")
    logger.warning("Concepts could not be recorded; sampling goes on.", exc_info=error)
    text = " ".join(str(error).split())
    text = text if len(text) <= LONGEST_TEXT else f"{text[:LONGEST_TEXT]}..."
    return f"recording failed with {type(error).__name__}{': ' if text else ''}{text} (the log has the details)"
