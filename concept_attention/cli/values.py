"""Types of single arguments: each converts a text to a value, or says what was expected."""

from __future__ import annotations

from argparse import ArgumentTypeError
from collections.abc import Callable
from pathlib import Path


def path(text: str) -> Path:
    if not text:
        raise ArgumentTypeError("must be a path, got an empty text")
    if "\0" in text:
        raise ArgumentTypeError(f"must be a path, got {text!r}, which has a null character")
    return Path(text)


def integer(text: str) -> int:
    try:
        return int(text)
    except ValueError:
        raise ArgumentTypeError(f"must be an integer, got {text!r}") from None


def count(text: str) -> int:
    value = integer(text)
    if value < 1:
        raise ArgumentTypeError(f"must be an integer >= 1, got {text}")
    return value


def seed(text: str) -> int:
    """A seed that torch accepts."""
    value = integer(text)
    if not 0 <= value < 2**63:
        raise ArgumentTypeError(f"must be an integer from 0 to 2^63 - 1, got {text}")
    return value


def side(text: str) -> int:
    """Width or height of an image in pixels, a whole number of tokens."""
    value = integer(text)
    if value < 16 or value % 16:
        raise ArgumentTypeError(f"must be a multiple of 16 pixels, at least 16, got {text}")
    return value


def part(text: str) -> tuple[int, int]:
    """Which part of how many, such as 2/8."""
    numbers = text.split("/")
    if len(numbers) != 2 or not all(number.strip().isdigit() for number in numbers):
        raise ArgumentTypeError(f"must be I/N such as 2/8, got {text!r}")
    index, parts = map(int, numbers)
    if not 1 <= index <= parts:
        raise ArgumentTypeError(f"must be I/N with I from 1 to N, got {text}")
    return index, parts


def number(low: float, high: float | None = None) -> Callable[[str], float]:
    """The type of numbers from `low` to `high`, without nan and infinity."""
    expected = f"must be a number >= {low:g}" if high is None else f"must be a number from {low:g} to {high:g}"
    greatest = 1e30 if high is None else high

    def convert(text: str) -> float:
        try:
            value = float(text)
        except ValueError:
            raise ArgumentTypeError(f"must be a number, got {text!r}") from None
        if not low <= value <= greatest:
            raise ArgumentTypeError(f"{expected}, got {text}")
        return value

    return convert


def noise(text: str) -> float:
    """A noise level at which an image is analyzed."""
    value = number(0, 1)(text)
    if value == 0:
        raise ArgumentTypeError("must be above 0: no model was trained on images without noise")
    return value
