"""From concepts to text-encoder embeddings, one vector per concept."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, get_args

import torch
from torch import Tensor

from ...concepts import Concept

logger = logging.getLogger("concept_attention")

Pooling = Literal["auto", "first", "mean", "last"]


@dataclass(frozen=True, eq=False)
class EncodedConcepts:
    """Concepts with their embeddings.

    Attributes:
        concepts: in the order of the rows.
        embeddings: (C, E), dtype and device of the text encoder's output.
        token_counts: tokens of each concept's text, special tokens not counted.
        pooling: how several tokens became one vector; `auto` is resolved per concept to first or mean.
    """

    concepts: tuple[Concept, ...]
    embeddings: Tensor
    token_counts: tuple[int, ...]
    pooling: Pooling


@torch.no_grad()
def encode_concepts(
    pipeline: Any, concepts: Sequence[Concept], pooling: Pooling = "auto", max_tokens: int = 512
) -> EncodedConcepts:
    """Encode each concept alone with the pipeline's T5, padded like a prompt and with no mask.

    Args:
        pipeline: a FluxPipeline.
        concepts: what to encode.
        pooling: `first` token (the authors' choice: "skyscraper" becomes "sky"), `mean` over the text's tokens,
            `last` token; `auto` is the only token or the mean.
        max_tokens: length the texts are padded to; padding is attended to and so part of the embedding.

    Returns:
        One embedding per concept.

    Raises:
        ValueError: for an unknown pooling, a text longer than `max_tokens`, or one the tokenizer has no word for.

    Source: the authors' Flux code (`embed_concepts`): T5 without a mask, token 0 of each concept.
    """
    if pooling not in get_args(Pooling):
        raise ValueError(f"Pooling {pooling!r} does not exist. Choose one of {', '.join(get_args(Pooling))}.")
    tokenizer, encoder = pipeline.tokenizer_2, pipeline.text_encoder_2
    texts = [concept.text for concept in concepts]
    # The closing token is the only special one: T5 has no opening token.
    words = [ids[:-1] for ids in tokenizer(texts, add_special_tokens=True).input_ids]
    for concept, ids in zip(concepts, words, strict=True):
        _check_tokens(tokenizer, concept, ids, max_tokens)
    padded = tokenizer(texts, padding="max_length", max_length=max_tokens, truncation=True, return_tensors="pt")
    hidden = encoder(padded.input_ids.to(pipeline._execution_device))[0]
    pooled = [_pool(states[: len(ids)], pooling) for states, ids in zip(hidden, words, strict=True)]
    return EncodedConcepts(tuple(concepts), torch.stack(pooled), tuple(map(len, words)), pooling)


def _pool(states: Tensor, pooling: Pooling) -> Tensor:
    """The tokens of one text, (n, E), to one vector (E,)."""
    if pooling == "first":
        return states[0]
    return states[-1] if pooling == "last" else states.mean(0)


def _check_tokens(tokenizer: Any, concept: Concept, ids: list[int], max_tokens: int) -> None:
    if not 0 < len(ids) < max_tokens:
        raise ValueError(
            f'Concept "{concept.name}" has {len(ids)} tokens, expected 1 to {max_tokens - 1}. Rephrase its text.'
        )
    if tokenizer.unk_token_id in ids:
        raise ValueError(f'The text encoder has no word for all of "{concept.text}". {known_words(tokenizer)}'.rstrip())


def known_words(tokenizer: Any, limit: int = 100) -> str:
    """A sentence with the words a small tokenizer knows; an empty one for a real tokenizer."""
    vocabulary = tokenizer.get_vocab()
    if len(vocabulary) > limit:
        return "Use other characters."
    words = sorted(word for word in vocabulary if word.isalpha())
    return f"It knows: {', '.join(words)}."


def warn_of_unknown_words(tokenizer: Any, prompts: Sequence[str]) -> None:
    """Log the first prompt that a small tokenizer has no word for all of; the model reads around what is missing."""
    unknown = [prompt for prompt in prompts if tokenizer.unk_token_id in tokenizer(prompt).input_ids]
    if unknown:
        logger.warning('The model has no word for all of "%s". %s', unknown[0], known_words(tokenizer))
