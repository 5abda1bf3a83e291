"""Messages about words that a tokenizer with a small vocabulary, such as the landscape model's, does not know."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Any

from ..errors import printable

logger = logging.getLogger("concept_attention")


def known_words(tokenizer: Any, text: str, limit: int = 100) -> str:
    """A sentence that lists the vocabulary; if it has more than `limit` tokens, what of the text it lacks."""
    vocabulary = tokenizer.get_vocab()
    if len(vocabulary) > limit:
        unknown = [character for character in dict.fromkeys(text) if not _knows(tokenizer, character)]
        named = ", ".join(f'"{character}" (U+{ord(character):04X})' for character in unknown[:5])
        return f"Use other characters than {named}{' and others' * (len(unknown) > 5)}." if named else "Rephrase it."
    words = sorted(word for word in vocabulary if word.isalpha())
    return f"It knows: {', '.join(words)}."


def _knows(tokenizer: Any, character: str) -> bool:
    return tokenizer.unk_token_id not in tokenizer(character)["input_ids"]


def unknown_words_message(tokenizer: Any, text: str) -> str:
    """The error message for a concept whose text has unknown words."""
    return f'The text encoder does not know every word in "{text}". {known_words(tokenizer, text)}'


def warn_of_unknown_words(tokenizer: Any, prompts: Sequence[str]) -> None:
    """Log a warning for the first prompt with unknown words; the model sees them as its unknown token."""
    unknown = [prompt for prompt in prompts if tokenizer.unk_token_id in tokenizer(prompt).input_ids]
    if unknown:
        log_unknown_words(tokenizer, unknown[0])


def log_unknown_words(tokenizer: Any, prompt: str) -> None:
    """Log the warning for a prompt with unknown words."""
    known = known_words(tokenizer, prompt)
    logger.warning('The model does not know every word in "%s". %s', printable(prompt), printable(known))
