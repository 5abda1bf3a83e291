"""From concepts to text-encoder embeddings, one vector per concept."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch

from ...choices import POOLINGS, READERS, Pooling, Reader, check_choice
from ...concepts import Concept
from ...errors import UserError
from ..encoded import EncodedConcepts
from .registry import family_of


@torch.no_grad()
def encode_concepts(
    pipeline: Any,
    concepts: Sequence[Concept],
    pooling: Pooling = "auto",
    max_tokens: int = 512,
    reader: Reader = "auto",
) -> EncodedConcepts:
    """Encode each concept alone with the pipeline's own text encoder, padded like a prompt.

    Args:
        pipeline: from `load_pipeline`.
        concepts: what to encode.
        pooling: `first` token (the authors' choice for T5: "skyscraper" becomes "sky"), `mean` over the text's tokens,
            `last` token; `auto` is the last token where only that has read the whole text, else the mean.
        max_tokens: length the texts are padded to; padding is attended to and so part of the embedding.
        reader: which text encoder encodes them, if the model has several; see `choices.Reader`.

    Returns:
        One embedding per concept.

    Raises:
        UserError: for no concepts, an unknown pooling or reader, a text longer than `max_tokens`, or words that the
            tokenizer does not know.

    Example:
        >>> from concept_attention.concepts import parse_concepts
        >>> from concept_attention.hosts.diffusers import encode_concepts, load_pipeline
        >>> pipeline = load_pipeline("tiny", device="cpu")
        >>> encoded = encode_concepts(pipeline, parse_concepts(["house", "home: a red house"]), max_tokens=16)
        >>> encoded.embeddings.shape, encoded.token_counts, encoded.pooling
        (torch.Size([2, 128]), (1, 3), 'auto')

    Source: the authors' code, which has one way for each of its models.
    """
    check_choice("Pooling", pooling, POOLINGS)
    check_choice("Reader", reader, READERS)
    if not concepts:
        raise UserError("There are no concepts. Give at least one.")
    return family_of(pipeline).encode_concepts(pipeline, concepts, pooling, max_tokens, reader)
