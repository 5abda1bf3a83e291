"""What ComfyUI's tokenizers make of a text: a list of tokens per encoder, and in it what is the text's own.

A text's own tokens are those that other texts do not have in that place.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ..encoded import Reader

# Token lists of the CLIP encoders, whose states are mostly pooled only: looked at last.
CLIP_LISTS = ("l", "g", "h")
T5 = "t5"  # in the name of a token list; in all other encoders a token has only read those before it

# Texts to compare with: every tokenizer knows them, and they neither begin nor end with the same token. The empty text
# is none of them, as some encoders read it with another template.
OTHERS = ("a", "the")

Ids = dict[str, list[list[int]]]  # token ids by list, each in the batches its encoder reads


def tokenise(clip: Any, text: str) -> tuple[Any, Ids]:
    """Tokens as ComfyUI's CLIP takes them, and their ids."""
    tokens = clip.tokenize(text)
    return tokens, {key: [[token[0] for token in batch] for batch in batches] for key, batches in tokens.items()}


def literal(clip: Any, text: str) -> str:
    """The text such that its parentheses are no weights; every other character, also a backslash, is itself."""
    if not {"(", ")"} & set(text):
        return text
    _, escaped = tokenise(clip, r"\(")
    _, plain = tokenise(clip, "(")
    # Where there are no weights, some tokenizers do not undo what protects from them.
    return text.replace("(", r"\(").replace(")", r"\)") if escaped == plain else text


def usable_lists(clip: Any, ids: Ids, reader: Reader) -> list[str]:
    """The token lists that a reader may use, in the order to look at them; SD3 and HiDream make more than they read.

    Raises:
        ValueError: if the encoder has no such part.
    """
    model = getattr(clip, "cond_stage_model", None)
    there = [key for key in ids if part_of(model, key, absent=clip) is not None]
    if reader == "auto":
        return sorted(there, key=lambda key: key in CLIP_LISTS)
    found = [key for key in there if (key in CLIP_LISTS if reader == "clip" else T5 in key)]
    if not found:
        loaded = ", ".join(there) or "nothing"
        raise ValueError(
            f'The reader "{reader}" needs {reader.upper()}, and this text encoder has {loaded}. '
            'Load the encoder that is missing, or choose "auto".'
        )
    return found


def part_of(whole: Any, key: str, absent: Any = None) -> Any:
    """What ComfyUI's encoders and tokenizers keep for one token list, as `t5xxl` or `clip_l`; else `absent`."""
    return getattr(whole, key, getattr(whole, f"clip_{key}", absent))


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
