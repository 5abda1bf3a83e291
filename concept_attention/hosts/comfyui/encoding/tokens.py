"""What ComfyUI's tokenizers make of a text: a list of tokens per encoder, and in it what is the text's own.

A text's own tokens are those that other texts do not have in that place.
"""

from __future__ import annotations

from typing import Any

from ....choices import Reader

# Token lists of the CLIP encoders, whose states are mostly pooled only: looked at last.
CLIP_LISTS = ("l", "g", "h")
T5 = "t5"  # in the name of a token list; in all other encoders a token has only read those before it

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
