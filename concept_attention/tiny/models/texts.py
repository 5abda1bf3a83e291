"""The vocabulary of the landscape models as token ids, and every text that they are taught as a concept."""

from __future__ import annotations

from collections.abc import Sequence

from ..world.scenes import COLORS, LABELS, vocabulary

TEXT_TOKENS = 24  # T5's padded length; the Flux is also trained with up to 512, FluxPipeline's default
SPECIAL = 3  # both tokenizers begin with three special tokens
UNKNOWN = 2  # the last of them stands for every other word


def words() -> tuple[str, ...]:
    """Every token of the vocabulary, in id order after the special ones."""
    return (*vocabulary(), ",")


def word_ids(text: str, ids: dict[str, int]) -> list[int]:
    """Token ids of a text, special tokens not included; an unknown word is `<unk>` in both tokenizers."""
    return [ids.get(word, UNKNOWN) for word in text.lower().replace(",", " , ").split()]


def token_table() -> dict[str, int]:
    """Token id of every word."""
    return {word: index + SPECIAL for index, word in enumerate(words())}


def t5_row(ids: Sequence[int], length: int) -> list[int]:
    """Ids with `</s>` (1), padded with 0."""
    row = [*ids[: length - 1], 1]
    return row + [0] * (length - len(row))


def clip_row(ids: Sequence[int], length: int) -> list[int]:
    """Ids between start (0) and end (1) of text, padded with the end."""
    row = [0, *ids[: length - 2], 1]
    return row + [1] * (length - len(row))


def concept_texts() -> tuple[tuple[str, int], ...]:
    """Every (text, label index) taught as a concept: a word alone, with an article, with a colour."""
    texts = []
    for index, label in enumerate(LABELS):
        texts += [(label, index), (f"a {label}", index), (f"the {label}", index)]
        texts += [(f"{color} {label}", index) for color in COLORS]
        if label == "sky":
            texts += [("night sky", index), ("sunset sky", index)]
    return tuple(texts)
