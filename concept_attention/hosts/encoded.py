"""Concepts with their text embeddings."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor

from ..choices import Pooling
from ..concepts import Concept
from .null_words import NullWords


@dataclass(frozen=True, eq=False)
class ConceptText:
    """A concept's text as a prompt of its own, as the model's text encoder returned it.

    Attributes:
        states: of the whole text, with special tokens and padding, (T, E).
        own: begin and end of the tokens that are read as the concept: all of its own, or the one that a pooling names.
        options: what its CONDITIONING in ComfyUI holds beside the states, or a pipeline of diffusers gives the model.
    """

    states: Tensor
    own: tuple[int, int]
    options: Mapping[str, Any] = field(default_factory=dict)

    @property
    def tokens(self) -> Tensor:
        """The states of the concept's own tokens, (n, E)."""
        return self.states[slice(*self.own)]

    def read_by(self, pooling: Pooling) -> ConceptText:
        """The text with the tokens that attention is summed over: all of its own unless the user names one.

        So `auto` differs from the pooled embedding, which is the last token's where only that has read the whole
        concept.
        """
        begin, end = self.own
        own = {"first": (begin, begin + 1), "last": (end - 1, end)}.get(pooling, self.own)
        return replace(self, own=own)

    def to(self, like: Tensor) -> ConceptText:
        """The text with its states on the device and in the dtype of another tensor."""
        return replace(self, states=self.states.to(like))


@dataclass(frozen=True, eq=False)
class EncodedConcepts:
    """Concepts with their text embeddings.

    Attributes:
        concepts: C concepts.
        embeddings: one row per concept, (C, E), dtype and device of the text encoder's output.
        token_counts: number of tokens of each concept's text, without special tokens.
        pooling: how the tokens of a concept became one embedding.
        empty_conditioning: ComfyUI's CONDITIONING of the empty prompt; None on diffusers.
        context_tokens: embeddings that go through the model with the concepts but are not scored, (K, E), such as the
            start token of a line in which all concepts were encoded; None if there are none.
        read_by: name of the text encoder, or the `Reader` "clip"; "" if the model has only one.
        null_words: what the presence of each concept is measured against; None records no presence.
        asked: names of the concepts that the prompt asks for, if they were taken from it.
        texts: what the readings `cross` and `gram` need of each concept: all of its tokens. Empty if there is none but
            the embedding, which is then the concept's only token.
    """

    concepts: tuple[Concept, ...]
    embeddings: Tensor
    token_counts: tuple[int, ...]
    pooling: Pooling
    empty_conditioning: Any = None
    context_tokens: Tensor | None = None
    read_by: str = ""
    texts: tuple[ConceptText, ...] = ()
    null_words: NullWords | None = None
    asked: tuple[str, ...] = ()

    def as_texts(self) -> tuple[ConceptText, ...]:
        """The `texts`; without them, each concept as a text of one token."""
        return self.texts or tuple(ConceptText(embedding[None], (0, 1)) for embedding in self.embeddings)

    def rows(self) -> Tensor:
        """Everything that goes through the model: the concepts, then the context tokens, (C + K, E)."""
        return self.embeddings if self.context_tokens is None else torch.cat([self.embeddings, self.context_tokens])

    def fingerprint(self) -> str:
        """SHA-256 of the concepts' names, texts and roles, in order, of all rows and tokens, and of the null words."""
        concepts = [[concept.name, concept.text, concept.role] for concept in self.concepts]
        words = [] if self.null_words is None else [list(self.null_words.words)]
        digest = hashlib.sha256(json.dumps([*concepts, *words]).encode())
        for states in (self.rows(), *(text.tokens for text in self.texts)):
            states = states.detach().cpu().contiguous()
            digest.update(json.dumps([str(states.dtype), list(states.shape)]).encode())
            digest.update(states.view(torch.uint8).numpy().tobytes())
        return digest.hexdigest()


def resolve_pooling(pooling: Pooling, causal: bool) -> Pooling:
    """Replace `auto`: the last token for a causal text encoder, where only it attends to the whole text, else the mean.

    Other values are returned unchanged.
    """
    if pooling != "auto":
        return pooling
    return "last" if causal else "mean"


def pool(states: Tensor, pooling: Pooling) -> Tensor:
    """Pool the tokens of one text, (n, E), to one embedding (E,).

    `first` is the authors' rule, which turns "skyscraper" into "sky"; `auto` is the mean.
    """
    if pooling == "first":
        return states[0]
    return states[-1] if pooling == "last" else states.mean(0)
