"""Concepts with their embeddings, as every host's text encoder delivers them."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from typing import Any, Literal, get_args

import torch
from torch import Tensor

from ..concepts import Concept

Pooling = Literal["auto", "first", "mean", "last"]


@dataclass(frozen=True, eq=False)
class EncodedConcepts:
    """Concepts with their embeddings.

    Attributes:
        concepts: in the order of the rows.
        embeddings: (C, E), dtype and device of the text encoder's output.
        token_counts: tokens of each concept's text, special tokens not counted.
        pooling: how several tokens became one vector; `auto` is resolved per concept to first or mean.
        empty: the text encoder's output for an empty prompt, in the host's own form (ComfyUI's CONDITIONING); None
            in a host that encodes it itself.
    """

    concepts: tuple[Concept, ...]
    embeddings: Tensor
    token_counts: tuple[int, ...]
    pooling: Pooling
    empty: Any = None

    def fingerprint(self) -> str:
        """SHA-256 of what the model is asked: names, texts and roles in order, and the embeddings' bytes."""
        said = [[concept.name, concept.text, concept.role] for concept in self.concepts]
        numbers = self.embeddings.detach().cpu().contiguous()
        header = json.dumps([said, str(numbers.dtype), list(numbers.shape)])
        raw = numbers.view(torch.uint8).numpy().tobytes()
        return hashlib.sha256(header.encode() + b"\0" + raw).hexdigest()


def check_pooling(pooling: str) -> None:
    """Refuse a pooling that does not exist with a ValueError that lists those that do."""
    if pooling not in get_args(Pooling):
        raise ValueError(f"Pooling {pooling!r} does not exist. Choose one of {', '.join(get_args(Pooling))}.")


def pool(states: Tensor, pooling: Pooling) -> Tensor:
    """The tokens of one text, (n, E), to one vector (E,).

    `first` is the authors' choice ("skyscraper" becomes "sky"); `auto` is the only token or the mean.
    """
    if pooling == "first":
        return states[0]
    return states[-1] if pooling == "last" else states.mean(0)
