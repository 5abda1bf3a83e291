"""From concepts to text-encoder embeddings through any CLIP of ComfyUI, one vector per concept.

Encoders differ in what they put around a text (padding, end tokens, a chat template), in what they cut off again, and
in how many token lists they keep. None of that is known here: a text's own tokens are those that the empty text lacks.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from ...concepts import Concept
from ..encoded import EncodedConcepts, Pooling, check_pooling, pool
from ..words import unknown_words_message

# Token lists of the CLIP encoders, whose states are mostly pooled only: looked at last.
CLIP_LISTS = ("l", "g", "h")
EMBEDDING = re.compile(r"(^|\s)embedding:")  # where ComfyUI's tokenizers put the file of that name


@torch.no_grad()
def encode_concepts(clip: Any, concepts: Sequence[Concept], pooling: Pooling = "auto") -> EncodedConcepts:
    """Encode each concept alone, as the model's own "CLIP Text Encode" would: same tokenizer, padding and template.

    Args:
        clip: ComfyUI's CLIP of the model that will be looked into.
        concepts: what to encode; their texts are read literally, parentheses are no weights.
        pooling: see `encoded.pool`.

    Returns:
        One embedding (E,) per concept, and the CONDITIONING of the empty text.

    Raises:
        ValueError: if there are no concepts, for an unknown pooling, or where a concept's text has no tokens, tokens
            that the encoder does not know or cannot take at once, or names a textual inversion.

    Source: the authors' code (`embed_concepts`), which knows the place of the tokens for each of its models.
    """
    check_pooling(pooling)
    if not concepts:
        raise ValueError("There are no concepts to encode. Give at least one.")
    empty_lists, empty = _encode(clip, "")
    rows = [_word_states(clip, concept, empty_lists, empty[0][0]) for concept in concepts]
    pooled = torch.stack([pool(states, pooling) for states in rows])
    return EncodedConcepts(tuple(concepts), pooled, tuple(map(len, rows)), pooling, empty)


def literal(text: str) -> str:
    """The text with its parentheses escaped; every other character, also a backslash, stands for itself."""
    return text.replace("(", r"\(").replace(")", r"\)")


def word_span(ids: Sequence[int], empty: Sequence[int]) -> tuple[int, int]:
    """Where a tokenised text's own tokens lie.

    Args:
        ids: token ids of the text, with all that the tokenizer puts around it.
        empty: those of the empty text.

    Returns:
        Begin and end within `ids`, equal if the text has no tokens of its own: what lies between the beginning and
        the end that both have in common, padding at either side left out.
    """
    left, right = _unpadded(ids, empty)
    own, template = ids[left:right], empty[slice(*_unpadded(empty, empty))]
    begin = _common(own, template)
    end = _common(own[begin:][::-1], template[begin:][::-1])
    return left + begin, right - end


def _unpadded(ids: Sequence[int], empty: Sequence[int]) -> tuple[int, int]:
    """Begin and end of `ids` without the token that the empty text repeats at that side."""
    left, right = 0, len(ids)
    while right > 0 and empty[-2:] == [ids[right - 1]] * 2:
        right -= 1
    while left < right and empty[:2] == [ids[left]] * 2:
        left += 1
    return left, right


def _common(one: Sequence[int], other: Sequence[int]) -> int:
    """How many tokens two sequences have in common from the beginning on."""
    pairs = enumerate(zip(one, other, strict=False))
    return next((index for index, (a, b) in pairs if a != b), min(len(one), len(other)))


def _encode(clip: Any, text: str) -> tuple[dict[str, list[list[int]]], Any]:
    """Token ids by list (each in the batches its encoder reads), and the CONDITIONING."""
    tokens = clip.tokenize(text)
    ids = {key: [[token[0] for token in batch] for batch in batches] for key, batches in tokens.items()}
    return ids, clip.encode_from_tokens_scheduled(tokens)


def _word_states(clip: Any, concept: Concept, empty_ids: dict[str, list[list[int]]], empty: Tensor) -> Tensor:
    """The states (n, E) of a concept's own n tokens."""
    if EMBEDDING.search(concept.text):
        raise ValueError(f'Concept "{concept.name}" names an embedding file, expected words: "{concept.text}".')
    ids, conditioning = _encode(clip, literal(concept.text))
    states = conditioning[0][0]
    if states.ndim != 3:
        raise ValueError(f"The text encoder gives {tuple(states.shape)}, expected (1, tokens, width). Use another one.")
    for key in sorted(ids, key=lambda key: key in CLIP_LISTS):
        if _part(getattr(clip, "cond_stage_model", None), key, absent=clip) is None:
            continue  # SD3 and HiDream make all lists, whichever encoders are loaded
        if len(ids[key]) != 1:
            fitting = len(ids[key][0])
            raise ValueError(f'Concept "{concept.name}" is longer than the {fitting} tokens that fit. Rephrase it.')
        begin, end = word_span(ids[key][0], empty_ids[key][0])
        # What other encoders put in front moves the tokens back; what was cut off in front, at most the template's
        # beginning, moves them forward; more than that was cut off behind.
        first = max(begin + states.shape[1] - len(ids[key][0]), 0)
        found = states[0, first : first + end - begin]
        # A text's own states differ from the empty text's; where they do not, they were made from another list.
        if 0 < len(found) == end - begin and not torch.equal(found[:1], empty[0, first : first + 1]):
            _check_known(clip, concept, key, ids[key][0][begin:end])
            return found
    raise ValueError(f'Concept "{concept.name}" has no tokens: the text encoder reads "{concept.text}" as nothing.')


def _check_known(clip: Any, concept: Concept, key: str, ids: list[int]) -> None:
    """Refuse a text that the tokenizer of this list has no word for; some have bytes, and no unknown token."""
    tokenizer = getattr(_part(getattr(clip, "tokenizer", None), key), "tokenizer", None)
    if getattr(tokenizer, "unk_token_id", None) in ids:
        raise ValueError(f'Concept "{concept.name}": {unknown_words_message(tokenizer, concept.text)}')


def _part(whole: Any, key: str, absent: Any = None) -> Any:
    """What ComfyUI's encoders and tokenizers keep for one token list, as `t5xxl` or `clip_l`; else `absent`."""
    return getattr(whole, key, getattr(whole, f"clip_{key}", absent))
