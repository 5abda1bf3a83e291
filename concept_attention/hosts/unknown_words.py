"""What a small tokenizer, such as the landscape model's, has no word for, and what it knows instead."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Any

logger = logging.getLogger("concept_attention")


def known_words(tokenizer: Any, limit: int = 100) -> str:
    """A sentence with the words a small tokenizer knows; other advice for a real tokenizer."""
    vocabulary = tokenizer.get_vocab()
    if len(vocabulary) > limit:
        return "Use other characters."
    words = sorted(word for word in vocabulary if word.isalpha())
    return f"It knows: {', '.join(words)}."


def unknown_words_message(tokenizer: Any, text: str) -> str:
    """Why a concept's text cannot be read: one error message for both hosts."""
    return f'The text encoder has no word for all of "{text}". {known_words(tokenizer)}'


def warn_of_unknown_words(tokenizer: Any, prompts: Sequence[str]) -> None:
    """Log the first prompt that a small tokenizer has no word for all of; the model reads around what is missing."""
    unknown = [prompt for prompt in prompts if tokenizer.unk_token_id in tokenizer(prompt).input_ids]
    if unknown:
        log_unknown_words(tokenizer, unknown[0])


def log_unknown_words(tokenizer: Any, prompt: str) -> None:
    """The warning itself, for hosts that have found the unknown words."""
    logger.warning('The model has no word for all of "%s". %s', prompt, known_words(tokenizer))
