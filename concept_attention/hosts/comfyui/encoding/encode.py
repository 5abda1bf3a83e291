"""Concept embeddings from any CLIP of ComfyUI, one vector per concept.

Encoders differ in what they put around a text (padding, end tokens, a chat template), in what they cut off again, and
in how many token lists they have. None of that is known here: a text's own tokens are those that other texts lack.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Sequence
from typing import Any, NamedTuple
from weakref import WeakKeyDictionary

import torch
from torch import Tensor

from ....choices import POOLINGS, READERS, Pooling, Reader, check_choice
from ....concepts import Concept
from ....errors import UserError
from ...encoded import ConceptText, EncodedConcepts, pool, resolve_pooling
from ...null_words import LISTS, NullWords, null_concepts
from ...token_spans import REFERENCE_TEXTS, word_span
from ...unknown_words import unknown_words_message
from .tokens import CLIP_LISTS, T5, Ids, literal, part_of, tokenise, usable_lists

# By CLIP, as encoding them takes as long as so many concepts. A CLIP with other weights is another object.
_NULL_WORDS: WeakKeyDictionary[Any, dict[tuple[Pooling, Reader], NullWords | None]] = WeakKeyDictionary()

EMBEDDING = re.compile(r"(^|\s)embedding:")  # where ComfyUI's tokenizers put the file of that name


class _Encoded(NamedTuple):
    """A concept as the text encoder returned it.

    Attributes:
        states: (n, E) of its own n tokens.
        key: of the token list.
        text: the whole text it was read in.
    """

    states: Tensor
    key: str
    text: ConceptText


@torch.no_grad()
def encode_concepts(
    clip: Any,
    concepts: Sequence[Concept],
    pooling: Pooling = "auto",
    reader: Reader = "auto",
    presence: bool = True,
) -> EncodedConcepts:
    """Encode concepts as the model's own "CLIP Text Encode" would: same tokenizer, padding and template.

    Args:
        clip: ComfyUI's CLIP that belongs to the model.
        concepts: what to encode; their texts are taken literally, parentheses are no weights.
        pooling: see `encoded.pool`; `auto` is the mean for T5, in which every token has read the whole text, and the
            last token for all other encoders, as it alone has.
        reader: see `choices.Reader`.
        presence: encode null words as well, which the presence of a concept is measured against. Reader `clip` has
            none, as it reads all words in one line.

    Returns:
        One embedding (E,) per concept, and the CONDITIONING of the empty text.

    Raises:
        UserError: if there are no concepts, for an unknown pooling or reader, for a reader that this encoder does not
            have, or if a concept's text has no tokens, unknown tokens, too many tokens, or names a textual inversion.

    Source: the authors' code (`embed_concepts`), which knows the position of the tokens for each of its models.
    """
    check_choice("Pooling", pooling, POOLINGS)
    check_choice("Reader", reader, READERS)
    if not concepts:
        raise UserError("There are no concepts to encode. Give at least one.")
    for concept in concepts:
        if EMBEDDING.search(concept.text):
            raise UserError(f'Concept "{concept.name}" names an embedding file, expected words: "{concept.text}".')
    others = [tokenise(clip, text)[1] for text in REFERENCE_TEXTS]
    empty = clip.encode_from_tokens_scheduled(clip.tokenize(""))
    if reader == "clip":
        rows, context_tokens = _encode_together(clip, concepts, others)
    else:
        nothing = _without_doubles(empty[0][0])
        rows = [_encode_alone(clip, concept, others, nothing, reader) for concept in concepts]
        context_tokens = None
    texts = tuple(row.text.read_by(pooling) for row in rows)
    pooling = resolve_pooling(pooling, causal=T5 not in rows[0].key)
    pooled = torch.stack([pool(row.states, pooling) for row in rows])
    counts = tuple(len(row.states) for row in rows)
    read_by = reader if reader == "clip" else rows[0].key
    null_words = _encode_null_words(clip, pooling, reader) if presence and reader != "clip" else None
    return EncodedConcepts(tuple(concepts), pooled, counts, pooling, empty, context_tokens, read_by, texts, null_words)


def _encode_null_words(clip: Any, pooling: Pooling, reader: Reader) -> NullWords | None:
    """The first list of null words that the text encoder knows, once per CLIP; None if it knows none of the lists."""
    known = _NULL_WORDS.setdefault(clip, {})
    if (pooling, reader) not in known:
        known[pooling, reader] = None
        for words in LISTS:
            with contextlib.suppress(UserError):  # a small vocabulary lacks some of them
                encoded = encode_concepts(clip, null_concepts(words), pooling, reader, presence=False)
                known[pooling, reader] = NullWords(words, encoded.embeddings)
                break
    return known[pooling, reader]


def _encode_alone(clip: Any, concept: Concept, others: Sequence[Ids], empty: Tensor, reader: Reader) -> _Encoded:
    """One concept, encoded as a text of its own."""
    tokens, ids = tokenise(clip, literal(clip, concept.text))
    ids = {key: own for key, own in ids.items() if key in others[0]}  # HunyuanImage has one more for quoted text
    states, options = _states(clip, tokens)
    for key in usable_lists(clip, ids, reader):
        begin, end = _own_span(concept, ids, others, key)
        # Tokens of other encoders in front move these back; what was cut off in front, at most the template's
        # beginning, moves them forward; anything more was cut off behind.
        first = max(begin + states.shape[1] - len(ids[key][0]), 0)
        found = states[0, first : first + end - begin]
        # A text's own states differ from the empty text's; if they do not, they belong to another list.
        if 0 < len(found) == end - begin and not torch.equal(found[:1], empty[0, first : first + 1]):
            _check_known(clip, concept, key, ids[key][0][begin:end])
            return _Encoded(found, key, ConceptText(states[0], (first, first + end - begin), options))
    raise _no_tokens(concept)


def _encode_together(clip: Any, concepts: Sequence[Concept], others: Sequence[Ids]) -> tuple[list[_Encoded], Tensor]:
    """All concepts, encoded as one line of text by CLIP, and the states of its start token, (1, E).

    The authors take the line's first tokens, one for each concept; here each concept takes all of its own tokens.
    """
    line = " ".join(literal(clip, concept.text) for concept in concepts)
    tokens, ids = tokenise(clip, line)
    key, *_ = usable_lists(clip, ids, "clip")
    if len(ids[key]) != 1:
        raise UserError(
            f"The concepts together are longer than the {len(ids[key][0])} tokens that CLIP can take. "
            'Name fewer, or choose the reader "t5", which reads each by itself.'
        )
    states, options = _states(clip, tokens)
    behind = sum(len(ids[other][0]) for other in usable_lists(clip, ids, "auto") if other not in CLIP_LISTS)
    if states.shape[1] - behind != len(ids[key][0]):  # CLIP's tokens come first, if they are there
        raise UserError('The reader "clip" needs the tokens of CLIP, and this model gets none. Choose "auto".')
    start, _ = word_span(ids[key][0], [other[key][0] for other in others])
    rows, first = [], start
    for concept in concepts:
        begin, end = _own_span(concept, tokenise(clip, literal(clip, concept.text))[1], others, key)
        if begin == end:
            raise _no_tokens(concept)
        span = (first, first + end - begin)
        rows.append(_Encoded(states[0, slice(*span)], key, ConceptText(states[0], span, options)))
        first += end - begin
    return rows, states[0, :start]


def _states(clip: Any, tokens: Any) -> tuple[Tensor, dict[str, Any]]:
    """Text embeddings as the model gets them, (1, tokens, width), and what else their CONDITIONING holds."""
    states, options = clip.encode_from_tokens_scheduled(tokens)[0]
    if states.ndim != 3:
        raise UserError(f"The text encoder gives {tuple(states.shape)}, expected (1, tokens, width). Use another one.")
    return _without_doubles(states), options


def _without_doubles(states: Tensor) -> Tensor:
    """Each state once.

    NegPip, which other packs put into a CLIP, makes two of each: one for the keys and one for the values of attention.
    They differ in words of negative weight, which concepts do not have.
    """
    doubled = states.ndim == 3 and states.shape[1] % 2 == 0 and torch.equal(states[:, 0::2], states[:, 1::2])
    return states[:, 0::2] if doubled else states


def _own_span(concept: Concept, ids: Ids, others: Sequence[Ids], key: str) -> tuple[int, int]:
    """Begin and end of a concept's own tokens in a list."""
    if len(ids[key]) != 1:
        limit = len(ids[key][0])
        raise UserError(f'Concept "{concept.name}" is longer than the {limit} tokens that fit. Rephrase it.')
    return word_span(ids[key][0], [other[key][0] for other in others])


def _check_known(clip: Any, concept: Concept, key: str, ids: list[int]) -> None:
    """Refuse a text with unknown tokens; tokenizers that fall back to bytes have none."""
    tokenizer = getattr(part_of(getattr(clip, "tokenizer", None), key), "tokenizer", None)
    if getattr(tokenizer, "unk_token_id", None) in ids:
        raise UserError(f'Concept "{concept.name}": {unknown_words_message(tokenizer, concept.text)}')


def _no_tokens(concept: Concept) -> UserError:
    return UserError(f'Concept "{concept.name}" has no tokens: the text encoder reads "{concept.text}" as nothing.')
