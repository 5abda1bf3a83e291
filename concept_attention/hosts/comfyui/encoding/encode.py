"""From concepts to text-encoder embeddings through any CLIP of ComfyUI, one vector per concept.

Encoders differ in what they put around a text (padding, end tokens, a chat template), in what they cut off again, and
in how many token lists they keep. None of that is known here: a text's own tokens are those that other texts lack.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from ....choices import POOLINGS, READERS, Pooling, Reader, check_choice
from ....concepts import Concept
from ...encoded import EncodedConcepts, pool, resolve_pooling
from ...token_spans import OTHERS, word_span
from ...unknown_words import unknown_words_message
from .tokens import CLIP_LISTS, T5, Ids, literal, part_of, tokenise, usable_lists

EMBEDDING = re.compile(r"(^|\s)embedding:")  # where ComfyUI's tokenizers put the file of that name


class _Read(NamedTuple):
    """A concept as an encoder has read it.

    Attributes:
        states: (n, E) of its own n tokens.
        key: of the token list.
    """

    states: Tensor
    key: str


@torch.no_grad()
def encode_concepts(
    clip: Any, concepts: Sequence[Concept], pooling: Pooling = "auto", reader: Reader = "auto"
) -> EncodedConcepts:
    """Encode concepts as the model's own "CLIP Text Encode" would: same tokenizer, padding and template.

    Args:
        clip: ComfyUI's CLIP of the model that will be looked into.
        concepts: what to encode; their texts are read literally, parentheses are no weights.
        pooling: see `encoded.pool`; `auto` is the mean for T5, in which every token has read the whole text, and the
            last token for all other encoders, as it alone has.
        reader: see `encoded.Reader`.

    Returns:
        One embedding (E,) per concept, and the CONDITIONING of the empty text.

    Raises:
        ValueError: if there are no concepts, for an unknown pooling or reader, or one that the encoder does not have,
            or where a concept's text has no tokens, tokens that the encoder does not know or cannot take at once, or
            names a textual inversion.

    Source: the authors' code (`embed_concepts`), which knows the place of the tokens for each of its models.
    """
    check_choice("Pooling", pooling, POOLINGS)
    check_choice("Reader", reader, READERS)
    if not concepts:
        raise ValueError("There are no concepts to encode. Give at least one.")
    for concept in concepts:
        if EMBEDDING.search(concept.text):
            raise ValueError(f'Concept "{concept.name}" names an embedding file, expected words: "{concept.text}".')
    others = [tokenise(clip, text)[1] for text in OTHERS]
    empty = clip.encode_from_tokens_scheduled(clip.tokenize(""))
    if reader == "clip":
        rows, context_tokens = _read_together(clip, concepts, others)
    else:
        rows = [_read_alone(clip, concept, others, empty[0][0], reader) for concept in concepts]
        context_tokens = None
    pooling = resolve_pooling(pooling, causal=T5 not in rows[0].key)
    pooled = torch.stack([pool(row.states, pooling) for row in rows])
    counts = tuple(len(row.states) for row in rows)
    read_by = reader if reader == "clip" else rows[0].key
    return EncodedConcepts(tuple(concepts), pooled, counts, pooling, empty, context_tokens, read_by)


def _read_alone(clip: Any, concept: Concept, others: Sequence[Ids], empty: Tensor, reader: Reader) -> _Read:
    """One concept as a text of its own."""
    tokens, ids = tokenise(clip, literal(clip, concept.text))
    ids = {key: own for key, own in ids.items() if key in others[0]}  # HunyuanImage has one more for quoted text
    states = _states(clip, tokens)
    for key in usable_lists(clip, ids, reader):
        begin, end = _own(concept, ids, others, key)
        # What other encoders put in front moves the tokens back; what was cut off in front, at most the template's
        # beginning, moves them forward; more than that was cut off behind.
        first = max(begin + states.shape[1] - len(ids[key][0]), 0)
        found = states[0, first : first + end - begin]
        # A text's own states differ from the empty text's; where they do not, they were made from another list.
        if 0 < len(found) == end - begin and not torch.equal(found[:1], empty[0, first : first + 1]):
            _check_known(clip, concept, key, ids[key][0][begin:end])
            return _Read(found, key)
    raise _no_tokens(concept)


def _read_together(clip: Any, concepts: Sequence[Concept], others: Sequence[Ids]) -> tuple[list[_Read], Tensor]:
    """All concepts as one line of CLIP's, and the states of its start token, (1, E).

    The authors take the line's first tokens, one for each concept; here every concept has as many as it has.
    """
    line = " ".join(literal(clip, concept.text) for concept in concepts)
    tokens, ids = tokenise(clip, line)
    key, *_ = usable_lists(clip, ids, "clip")
    if len(ids[key]) != 1:
        raise ValueError(
            f"The concepts together are longer than the {len(ids[key][0])} tokens that CLIP can take. "
            'Name fewer, or choose the reader "t5", which reads each by itself.'
        )
    states = _states(clip, tokens)
    behind = sum(len(ids[other][0]) for other in usable_lists(clip, ids, "auto") if other not in CLIP_LISTS)
    if states.shape[1] - behind != len(ids[key][0]):  # CLIP's tokens come first, if they are there
        raise ValueError('The reader "clip" needs the tokens of CLIP, and this model gets none. Choose "auto".')
    start, _ = word_span(ids[key][0], [other[key][0] for other in others])
    rows, first = [], start
    for concept in concepts:
        begin, end = _own(concept, tokenise(clip, literal(clip, concept.text))[1], others, key)
        if begin == end:
            raise _no_tokens(concept)
        rows.append(_Read(states[0, first : first + end - begin], key))
        first += end - begin
    return rows, states[0, :start]


def _states(clip: Any, tokens: Any) -> Tensor:
    """What the model would get, (1, tokens, width)."""
    states: Tensor = clip.encode_from_tokens_scheduled(tokens)[0][0]
    if states.ndim != 3:
        raise ValueError(f"The text encoder gives {tuple(states.shape)}, expected (1, tokens, width). Use another one.")
    return states


def _own(concept: Concept, ids: Ids, others: Sequence[Ids], key: str) -> tuple[int, int]:
    """Begin and end of a concept's own tokens in a list."""
    if len(ids[key]) != 1:
        fitting = len(ids[key][0])
        raise ValueError(f'Concept "{concept.name}" is longer than the {fitting} tokens that fit. Rephrase it.')
    return word_span(ids[key][0], [other[key][0] for other in others])


def _check_known(clip: Any, concept: Concept, key: str, ids: list[int]) -> None:
    """Refuse a text that the tokenizer of this list has no word for; some have bytes, and no unknown token."""
    tokenizer = getattr(part_of(getattr(clip, "tokenizer", None), key), "tokenizer", None)
    if getattr(tokenizer, "unk_token_id", None) in ids:
        raise ValueError(f'Concept "{concept.name}": {unknown_words_message(tokenizer, concept.text)}')


def _no_tokens(concept: Concept) -> ValueError:
    return ValueError(f'Concept "{concept.name}" has no tokens: the text encoder reads "{concept.text}" as nothing.')
