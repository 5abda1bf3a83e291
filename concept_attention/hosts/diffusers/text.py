"""From concepts to text-encoder embeddings, one vector per concept."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch

from ...concepts import Concept
from ..encoded import EncodedConcepts, Pooling, check_pooling, pool
from ..words import unknown_words_message


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
    check_pooling(pooling)
    tokenizer, encoder = pipeline.tokenizer_2, pipeline.text_encoder_2
    texts = [concept.text for concept in concepts]
    # The closing token is the only special one: T5 has no opening token.
    words = [ids[:-1] for ids in tokenizer(texts, add_special_tokens=True).input_ids]
    for concept, ids in zip(concepts, words, strict=True):
        _check_tokens(tokenizer, concept, ids, max_tokens)
    padded = tokenizer(texts, padding="max_length", max_length=max_tokens, truncation=True, return_tensors="pt")
    hidden = encoder(padded.input_ids.to(pipeline._execution_device))[0]
    pooled = [pool(states[: len(ids)], pooling) for states, ids in zip(hidden, words, strict=True)]
    return EncodedConcepts(tuple(concepts), torch.stack(pooled), tuple(map(len, words)), pooling)


def _check_tokens(tokenizer: Any, concept: Concept, ids: list[int], max_tokens: int) -> None:
    if not 0 < len(ids) < max_tokens:
        raise ValueError(
            f'Concept "{concept.name}" has {len(ids)} tokens, expected 1 to {max_tokens - 1}. Rephrase its text.'
        )
    if tokenizer.unk_token_id in ids:
        raise ValueError(unknown_words_message(tokenizer, concept.text))
