"""Types of single arguments: each turns a text into a value, or says what it expected."""

from __future__ import annotations

from argparse import ArgumentTypeError
from collections.abc import Callable
from pathlib import Path


def path(text: str) -> Path:
    if not text:
        raise ArgumentTypeError("expected a path, got an empty text")
    return Path(text)


def whole(text: str) -> int:
    """Any whole number."""
    try:
        return int(text)
    except ValueError:
        raise ArgumentTypeError(f"expected a whole number, got {text!r}") from None


def count(text: str) -> int:
    value = whole(text)
    if value < 1:
        raise ArgumentTypeError(f"expected a whole number from 1 on, got {text}")
    return value


def seed(text: str) -> int:
    """A seed that torch takes."""
    value = whole(text)
    if not 0 <= value < 2**63:
        raise ArgumentTypeError(f"expected a whole number from 0 to 2^63 - 1, got {text}")
    return value


def side(text: str) -> int:
    """Pixels along one side of a picture, whole tokens."""
    value = whole(text)
    if value < 16 or value % 16:
        raise ArgumentTypeError(f"expected a multiple of 16 pixels from 16 on, got {text}")
    return value


def number(low: float, high: float | None = None) -> Callable[[str], float]:
    """The type of numbers from `low` to `high`; nan and infinity are no numbers."""
    limits = f"from {low:g} on" if high is None else f"from {low:g} to {high:g}"
    most = 1e30 if high is None else high

    def read(text: str) -> float:
        try:
            value = float(text)
        except ValueError:
            raise ArgumentTypeError(f"expected a number, got {text!r}") from None
        if not low <= value <= most:
            raise ArgumentTypeError(f"expected a number {limits}, got {text}")
        return value

    return read


def noise(text: str) -> float:
    """A noise level to look at a picture with."""
    value = number(0, 1)(text)
    if value == 0:
        raise ArgumentTypeError("expected a noise level above 0: no model was trained on pictures without noise")
    return value
