"""Concepts with their text embeddings."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from ..choices import Pooling
from ..concepts import Concept


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
    """

    concepts: tuple[Concept, ...]
    embeddings: Tensor
    token_counts: tuple[int, ...]
    pooling: Pooling
    empty_conditioning: Any = None
    context_tokens: Tensor | None = None
    read_by: str = ""

    def rows(self) -> Tensor:
        """Everything that goes through the model: the concepts, then the context tokens, (C + K, E)."""
        return self.embeddings if self.context_tokens is None else torch.cat([self.embeddings, self.context_tokens])

    def fingerprint(self) -> str:
        """SHA-256 of the names, texts and roles of the concepts, in order, and of the bytes of all rows."""
        concepts = [[concept.name, concept.text, concept.role] for concept in self.concepts]
        rows = self.rows().detach().cpu().contiguous()
        header = json.dumps([concepts, str(rows.dtype), list(rows.shape)])
        return hashlib.sha256(header.encode() + b"\0" + rows.view(torch.uint8).numpy().tobytes()).hexdigest()


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
