"""Concepts with their embeddings, as every host's text encoder delivers them."""

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
    """Concepts with their embeddings.

    Attributes:
        concepts: in the order of the rows.
        embeddings: (C, E), dtype and device of the text encoder's output.
        token_counts: tokens of each concept's text, special tokens not counted.
        pooling: how several tokens became one vector.
        empty: the text encoder's output for an empty prompt, in the host's own form (ComfyUI's CONDITIONING); None
            in a host that encodes it itself.
        context_tokens: embeddings that go with the concepts through the model and are not looked for, (K, E): the start
            token of a line that all concepts were read in.
        read_by: the text encoder as the host calls it, or the `Reader` "clip"; "" where there is no choice.
    """

    concepts: tuple[Concept, ...]
    embeddings: Tensor
    token_counts: tuple[int, ...]
    pooling: Pooling
    empty: Any = None
    context_tokens: Tensor | None = None
    read_by: str = ""

    def rows(self) -> Tensor:
        """All that goes through the model: the concepts, then their context_tokens, (C + K, E)."""
        return self.embeddings if self.context_tokens is None else torch.cat([self.embeddings, self.context_tokens])

    def fingerprint(self) -> str:
        """SHA-256 of what the model is asked: names, texts and roles in order, and the embeddings' bytes."""
        said = [[concept.name, concept.text, concept.role] for concept in self.concepts]
        numbers = self.rows().detach().cpu().contiguous()
        header = json.dumps([said, str(numbers.dtype), list(numbers.shape)])
        raw = numbers.view(torch.uint8).numpy().tobytes()
        return hashlib.sha256(header.encode() + b"\0" + raw).hexdigest()


def resolve_pooling(pooling: Pooling, causal: bool) -> Pooling:
    """What `auto` stands for: the last token where only it has read the whole text (`causal`), else the mean."""
    if pooling != "auto":
        return pooling
    return "last" if causal else "mean"


def pool(states: Tensor, pooling: Pooling) -> Tensor:
    """The tokens of one text, (n, E), to one vector (E,).

    `first` is the authors' choice ("skyscraper" becomes "sky"); `auto` is the only token or the mean.
    """
    if pooling == "first":
        return states[0]
    return states[-1] if pooling == "last" else states.mean(0)
