"""Concepts through a T5, each alone, as Flux 1, Stable Diffusion 3 and CogVideoX encode them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch

from ....choices import Pooling
from ....concepts import Concept
from ....errors import UserError
from ...encoded import EncodedConcepts, pool
from ...unknown_words import unknown_words_message


def encode_with_t5(
    pipeline: Any,
    tokenizer: Any,
    encoder: Any,
    concepts: Sequence[Concept],
    pooling: Pooling,
    max_tokens: int,
    read_by: str = "",
) -> EncodedConcepts:
    """Encode each concept alone, padded like a prompt and with no mask.

    Args:
        pipeline: its device is the encoder's.
        tokenizer, encoder: T5's.
        concepts, pooling, max_tokens: see `encode_concepts`.
        read_by: see `EncodedConcepts`.

    Raises:
        UserError: for a text without tokens, longer than `max_tokens`, or with words the tokenizer does not know.
    """
    texts = [concept.text for concept in concepts]
    # The closing token is the only special one: T5 has no opening token.
    words = [ids[:-1] for ids in tokenizer(texts, add_special_tokens=True).input_ids]
    for concept, ids in zip(concepts, words, strict=True):
        _check_tokens(tokenizer, concept, ids, max_tokens)
    padded = tokenizer(texts, padding="max_length", max_length=max_tokens, truncation=True, return_tensors="pt")
    hidden = encoder(padded.input_ids.to(pipeline._execution_device))[0]
    pooled = [pool(states[: len(ids)], pooling) for states, ids in zip(hidden, words, strict=True)]
    return EncodedConcepts(tuple(concepts), torch.stack(pooled), tuple(map(len, words)), pooling, read_by=read_by)


def _check_tokens(tokenizer: Any, concept: Concept, ids: list[int], max_tokens: int) -> None:
    if not 0 < len(ids) < max_tokens:
        raise UserError(
            f'Concept "{concept.name}" has {len(ids)} tokens, expected 1 to {max_tokens - 1}. Rephrase its text.'
        )
    if tokenizer.unk_token_id in ids:
        raise UserError(unknown_words_message(tokenizer, concept.text))
