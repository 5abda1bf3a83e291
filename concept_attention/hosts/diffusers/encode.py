"""From concepts to text-encoder embeddings, one vector per concept."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Iterable, Sequence
from typing import Any

import torch

from ...choices import POOLINGS, READERS, Pooling, Reader, check_choice
from ...concepts import Concept, parse_concepts
from ...errors import UserError
from ..encoded import EncodedConcepts
from ..null_words import LISTS, NullWords, null_concepts
from .adapters import described
from .networks import network_of
from .registry import family_of


@torch.no_grad()
def encode_concepts(
    pipeline: Any,
    concepts: str | Sequence[Concept | str],
    pooling: Pooling = "auto",
    max_tokens: int = 512,
    reader: Reader = "auto",
    presence: bool = True,
) -> EncodedConcepts:
    """Encode each concept alone with the pipeline's own text encoder, padded like a prompt.

    Args:
        pipeline: from `load_pipeline`.
        concepts: what to encode: from `parse_concepts`, or as written, see `as_concepts`.
        pooling: `first` token (the authors' choice for T5: "skyscraper" becomes "sky"), `mean` over the text's tokens,
            `last` token; `auto` is the last token where only that has read the whole text, else the mean.
        max_tokens: length the texts are padded to; padding is attended to and so part of the embedding.
        reader: which text encoder encodes them, if the model has several; see `choices.Reader`.
        presence: encode null words as well, which the presence of a concept is measured against. Reader `clip` has
            none, as it reads all words in one line, nor have models without joint blocks.

    Returns:
        One embedding per concept.

    Raises:
        UserError: for no concepts, a pipeline without text encoder, an unknown pooling or reader, a text longer than
            `max_tokens`, or words that the tokenizer does not know; and as `as_concepts`.

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
    concepts, family = as_concepts(concepts), family_of(pipeline)
    if family.tokenizer(pipeline) is None or family.text_encoder(pipeline) is None:
        raise UserError(
            f"This {type(pipeline).__name__} has no text encoder for concepts: it was loaded without. Load it with one."
        )
    encoded = family.encode_concepts(pipeline, concepts, pooling, max_tokens, reader)
    network = network_of(pipeline)
    keys_only = network is not None and described(network).reading != "concept"  # what is read there has no presence
    if not presence or encoded.read_by == "clip" or keys_only:
        return encoded
    for words in LISTS:
        with contextlib.suppress(UserError):  # a small vocabulary lacks some of them
            null = family.encode_concepts(pipeline, null_concepts(words), pooling, max_tokens, reader)
            return dataclasses.replace(encoded, null_words=NullWords(words, null.embeddings))
    return encoded


def as_concepts(given: str | Sequence[Concept | str]) -> tuple[Concept, ...]:
    """Concepts as a caller gives them: a text as `parse_concepts` reads it, or one concept for each item.

    Raises:
        UserError: for no concepts, something else, or a name that occurs twice; and as `parse_concepts`.

    >>> [concept.text for concept in as_concepts(["sky", "house: a red house"])]
    ['sky', 'a red house']
    """
    if isinstance(given, str):
        return parse_concepts(given)
    items = list(given) if isinstance(given, Iterable) else [given]
    if not items:
        raise UserError("There are no concepts. Give at least one.")
    found = tuple(one if isinstance(one, Concept) else parse_concepts([_text(one)])[0] for one in items)
    for position, concept in enumerate(found):
        earlier = [other.name.casefold() for other in found[:position]]
        if concept.name.casefold() in earlier:
            raise UserError(f'Concept "{concept.name}" is given twice. Use every name once.')
    return found


def _text(item: Any) -> str:
    if not isinstance(item, str):
        raise UserError(f"A concept is a text, or comes from `parse_concepts`; got {type(item).__name__}.")
    return item
