"""Token lists of ComfyUI's tokenizers, one per text encoder."""

from __future__ import annotations

from typing import Any

from ....choices import Reader
from ....errors import UserError

# Token lists of the CLIP encoders; tried last, as most models get only their pooled states.
CLIP_LISTS = ("l", "g", "h")
T5 = "t5"  # in the name of a token list; in all other encoders a token attends only to those before it

Ids = dict[str, list[list[int]]]  # token ids by list, each in the batches its encoder takes


def tokenise(clip: Any, text: str) -> tuple[Any, Ids]:
    """Tokens for ComfyUI's CLIP, and their ids."""
    tokens = clip.tokenize(text)
    lists = {key: batches for key, batches in tokens.items() if isinstance(batches, list)}  # some note more beside them
    return tokens, {key: [[token[0] for token in batch] for batch in batches] for key, batches in lists.items()}


def literal(clip: Any, text: str) -> str:
    """The text, escaped so that its parentheses are no weights; all other characters stay, backslashes too."""
    if not {"(", ")"} & set(text):
        return text
    _, escaped = tokenise(clip, r"\(")
    _, plain = tokenise(clip, "(")
    # Some tokenizers that know no weights do not unescape, either.
    return text.replace("(", r"\(").replace(")", r"\)") if escaped == plain else text


def usable_lists(clip: Any, ids: Ids, reader: Reader) -> list[str]:
    """The token lists that a reader may use, in the order to try them; SD3 and HiDream make more than they encode.

    Raises:
        UserError: if the text encoder has no such part.
    """
    model = getattr(clip, "cond_stage_model", None)
    loaded = [key for key in ids if part_of(model, key, absent=clip) is not None]
    if reader == "auto":
        return sorted(loaded, key=lambda key: key in CLIP_LISTS)
    usable = [key for key in loaded if (key in CLIP_LISTS if reader == "clip" else T5 in key)]
    if not usable:
        names = ", ".join(loaded) or "nothing"
        raise UserError(
            f'The reader "{reader}" needs {reader.upper()}, and this text encoder has {names}. '
            'Load the encoder that is missing, or choose "auto".'
        )
    return usable


def part_of(whole: Any, key: str, absent: Any = None) -> Any:
    """The part of ComfyUI's encoder or tokenizer for one token list, such as `t5xxl` or `clip_l`; else `absent`."""
    return getattr(whole, key, getattr(whole, f"clip_{key}", absent))
