"""Find a text's own tokens among those that a tokenizer adds: special tokens, chat templates, padding."""

from __future__ import annotations

from collections.abc import Sequence

# Texts to compare with: every tokenizer knows them, and they neither begin nor end with the same token. The empty text
# does not qualify, since some encoders use another template for it.
REFERENCE_TEXTS = ("a", "the")


def word_span(ids: Sequence[int], references: Sequence[Sequence[int]]) -> tuple[int, int]:
    """Find a text's own tokens: those between the common beginning and the common end of all texts.

    Args:
        ids: token ids of the text, with everything that the tokenizer adds.
        references: token ids of the reference texts, no two of which begin or end with the same token.

    Returns:
        Begin and end within `ids`, without padding at either side; equal if the text has no tokens of its own.
    """
    left, right = _unpadded(ids, references[0])
    unpadded = ids[left:right]
    templates = [reference[slice(*_unpadded(reference, references[0]))] for reference in references]
    begin = min(_common_prefix(unpadded, template) for template in templates)
    end = min(_common_prefix(unpadded[begin:][::-1], template[begin:][::-1]) for template in templates)
    return left + begin, right - end


def _unpadded(ids: Sequence[int], reference: Sequence[int]) -> tuple[int, int]:
    """Begin and end of `ids` without the tokens that `reference` repeats at the same side."""
    left, right = 0, len(ids)
    while right > 0 and reference[-2:] == [ids[right - 1]] * 2:
        right -= 1
    while left < right and reference[:2] == [ids[left]] * 2:
        left += 1
    return left, right


def _common_prefix(one: Sequence[int], other: Sequence[int]) -> int:
    """Length of the common prefix of two sequences."""
    pairs = enumerate(zip(one, other, strict=False))
    return next((index for index, (a, b) in pairs if a != b), min(len(one), len(other)))
