"""Spans of a text's own tokens."""

from __future__ import annotations

import pytest

from concept_attention.hosts.token_spans import word_span


@pytest.mark.parametrize(
    "ids, references, span",
    [
        ([7, 8, 1, 0, 0], [[3, 1, 0, 0, 0], [4, 1, 0, 0, 0]], (0, 2)),  # T5, padded
        ([7, 8, 1], [[3, 1], [4, 1]], (0, 2)),  # T5, not padded
        ([7, 1, 0], [[3, 1, 0], [4, 1, 0]], (0, 1)),  # T5, always one padding token
        ([3, 7, 1, 0], [[3, 4, 1, 0, 0], [5, 1, 0, 0, 0]], (0, 2)),  # begins like a reference text
        ([7, 4, 1, 0], [[3, 4, 1, 0, 0], [5, 1, 0, 0, 0]], (0, 2)),  # ends like a reference text
        ([50, 7, 51, 51], [[50, 3, 51, 51], [50, 4, 51, 51]], (1, 2)),  # CLIP: padded with end tokens
        ([50, 51, 51, 51], [[50, 3, 51, 51], [50, 4, 51, 51]], (1, 1)),  # nothing
        ([9, 9, 5, 7, 7, 6], [[9, 9, 9, 5, 3, 6], [9, 9, 9, 5, 4, 6]], (3, 5)),  # padded on the left
        ([5, 8, 7, 8, 6], [[5, 8, 3, 8, 6], [5, 8, 4, 8, 6]], (2, 3)),  # the template's own tokens on both sides
        ([5, 8, 8, 6], [[5, 8, 3, 6], [5, 8, 4, 6]], (2, 3)),  # a text that repeats the template
        ([5, 7, 6, 6], [[5, 3, 6], [5, 4, 6]], (1, 3)),  # a text that ends like the template
        ([5, 7, 0, 0, 6], [[5, 3, 0, 0, 6], [5, 4, 0, 0, 6]], (1, 2)),  # padding before the end
        ([5, 3, 6], [[5, 3, 6], [5, 4, 6]], (1, 2)),  # a reference text itself
        ([5, 6], [[5, 3, 6], [5, 4, 6]], (1, 1)),
    ],
)
def test_own_tokens_are_those_that_reference_texts_lack(
    ids: list[int], references: list[list[int]], span: tuple[int, int]
) -> None:
    assert word_span(ids, references) == span
