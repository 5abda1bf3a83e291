"""Where a text's own tokens lie among those that a tokenizer puts around it."""

from __future__ import annotations

from collections.abc import Sequence

# Texts to compare with: every tokenizer knows them, and they neither begin nor end with the same token. The empty text
# is none of them, as some encoders read it with another template.
OTHERS = ("a", "the")


def word_span(ids: Sequence[int], others: Sequence[Sequence[int]]) -> tuple[int, int]:
    """Where a tokenised text's own tokens lie.

    Args:
        ids: token ids of the text, with all that the tokenizer puts around it.
        others: those of other texts, no two of which begin or end with the same token.

    Returns:
        Begin and end within `ids`, equal if the text has no tokens of its own: what lies between the beginning and
        the end that all have in common, padding at either side left out.
    """
    left, right = _unpadded(ids, others[0])
    own = ids[left:right]
    templates = [other[slice(*_unpadded(other, others[0]))] for other in others]
    begin = min(_common(own, template) for template in templates)
    end = min(_common(own[begin:][::-1], template[begin:][::-1]) for template in templates)
    return left + begin, right - end


def _unpadded(ids: Sequence[int], other: Sequence[int]) -> tuple[int, int]:
    """Begin and end of `ids` without the token that another text repeats at that side."""
    left, right = 0, len(ids)
    while right > 0 and other[-2:] == [ids[right - 1]] * 2:
        right -= 1
    while left < right and other[:2] == [ids[left]] * 2:
        left += 1
    return left, right


def _common(one: Sequence[int], other: Sequence[int]) -> int:
    """How many tokens two sequences have in common from the beginning on."""
    pairs = enumerate(zip(one, other, strict=False))
    return next((index for index, (a, b) in pairs if a != b), min(len(one), len(other)))
