"""Selections of layers and steps: `auto`, `all`, or numbers and ranges such as `3,7,9-11`."""

from __future__ import annotations

import operator
import re
from collections.abc import Iterable, Sequence
from typing import Any

from .errors import UserError

_LAYER_EXAMPLES = "auto, all, 15-18 or 3,7,9-11"
_RANGE = re.compile(r"\s*(-?\d{1,9})\s*(?:-\s*(-?\d{1,9})\s*)?")


def parse_layers(text: str | int | Sequence[int], count: int, default: Sequence[int]) -> tuple[int, ...]:
    """Parse the layers that a user wrote.

    Args:
        text: `auto`, `all`, numbers and inclusive ranges such as `15-18` or `3,7,9-11`, or the index or indices.
        count: joint blocks the model has.
        default: what `auto` means.

    Returns:
        0-based indices, ascending, each once.

    Raises:
        UserError: if the text is no selection, selects nothing, or a layer does not exist.

    >>> parse_layers("3,7,9-11", count=19, default=(15, 16, 17, 18))
    (3, 7, 9, 10, 11)
    >>> parse_layers("auto", count=19, default=(15, 16, 17, 18))
    (15, 16, 17, 18)
    """
    if isinstance(text, str) and text.strip().casefold() == "auto":
        text = default
    ranges = _ranges(text, count, "layers", _LAYER_EXAMPLES)
    for layer in (end for ends in ranges for end in ends):
        if not 0 <= layer < count:
            raise UserError(
                f"Layer {layer} does not exist: this model has {count} joint blocks (0-{count - 1}). "
                "Choose `layers` among these."
            )
    return _expand(ranges, "layers")


def check_layers(text: str) -> None:
    """Check that `parse_layers` can read `text` for some model.

    Raises:
        UserError: if the text is no selection, or selects nothing.
    """
    if text.strip().casefold() != "auto":
        _check_order(_ranges(text, 1, "layers", _LAYER_EXAMPLES), "layers")


def usual_layers(kept: Sequence[int], default: Sequence[int]) -> tuple[int, ...]:
    """The meaning of `auto` if only some layers were kept: the default layers among them, or else all of them."""
    return tuple(layer for layer in default if layer in kept) or tuple(kept)


def parse_steps(text: str | int | Sequence[int], count: int) -> tuple[int, ...]:
    """Parse the steps that a user wrote.

    Args:
        text: `all`, numbers and inclusive ranges such as `3-7` or `0,2`, or the index or indices. Negative
            numbers count from the end: `-1` is the last step.
        count: steps there are.

    Returns:
        0-based indices, ascending, each once.

    Raises:
        UserError: if the text is no selection, selects nothing, or a step does not exist.

    >>> parse_steps("0,2-3", count=28)
    (0, 2, 3)
    >>> parse_steps("-1", count=28)
    (27,)
    """
    ranges = _ranges(text, count, "steps", "all, 3-7, 0,2 or -1")
    for step in (end for ends in ranges for end in ends):
        if not -count <= step < count:
            raise UserError(
                f"Step {step} does not exist: there are {count} steps (0-{count - 1}, or -1 for the last). "
                "Choose `steps` among these."
            )
    return _expand(((first % count, last % count) for first, last in ranges), "steps")


def _ranges(text: str | int | Sequence[int], count: int, what: str, examples: str) -> list[tuple[int, int]]:
    """(first, last) of every range, as written; nothing is expanded before its ends are checked."""
    if not isinstance(text, str):
        indices = [_index(one, what, examples) for one in _several(text)]
        ranges = [(index, index) for index in indices]
    elif text.strip().casefold() == "all":
        ranges = [(0, count - 1)]
    else:
        matches = [_RANGE.fullmatch(part) for part in text.split(",")]
        ranges = [(int(match[1]), int(match[2] or match[1])) for match in matches if match]
        if None in matches:
            raise UserError(f'`{what}` cannot be "{text}". Write {examples}.')
    if not ranges:
        raise UserError(f"`{what}` selects nothing. Write {examples}.")
    return ranges


def _several(given: Any) -> Iterable[Any]:
    """What is given, to go through; an array of no dimension is one number, though it looks like several."""
    return given if isinstance(given, Iterable) and getattr(given, "ndim", 1) > 0 else [given]


def _index(given: Any, what: str, examples: str) -> int:
    try:
        return int(given) if isinstance(given, str) else operator.index(given)
    except (TypeError, ValueError):
        raise UserError(f"`{what}` are whole numbers, got {given!r}. Write {examples}, or give indices.") from None


def _check_order(ranges: Iterable[tuple[int, int]], what: str) -> None:
    for first, last in ranges:
        if last < first:
            raise UserError(f"`{what}` has the range {first}-{last}, which runs backwards. Swap its ends.")


def _expand(ranges: Iterable[tuple[int, int]], what: str) -> tuple[int, ...]:
    chosen: set[int] = set()
    ranges = list(ranges)
    _check_order(ranges, what)
    for first, last in ranges:
        chosen.update(range(first, last + 1))
    return tuple(sorted(chosen))
