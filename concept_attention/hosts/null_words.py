"""Null words: what the presence of a concept is measured against."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from .. import embedded
from ..concepts import Concept
from ..scores import Mode, Vectors, score_concepts

# Words that fit anywhere and name nothing in particular, so that a concept that is there beats all of them together,
# and one that is not there none.
NEUTRAL = ("thing", "object", "something", "scene", "background", "surface", "texture", "picture")

# A model takes the first list of which its text encoder knows every word. The landscape models know no neutral noun;
# their list names everything that their world can show.
LISTS: tuple[tuple[str, ...], ...] = (NEUTRAL, embedded.WORDS)


class RowsApart(NamedTuple):
    """Concept rows of which each attends to itself, to the padding tokens and to the image, to no other.

    Attributes:
        embeddings: (R, E).
        key_bias: (1, R, R), see `attend_concepts`.
    """

    embeddings: Tensor
    key_bias: Tensor


@dataclass(frozen=True, eq=False)
class NullWords:
    """Null words with their text embeddings, encoded like the concepts.

    Attributes:
        words: K words.
        embeddings: one row per word, (K, E).
    """

    words: tuple[str, ...]
    embeddings: Tensor

    def beside(self, concepts: Sequence[Concept]) -> Tensor:
        """Which words each concept is measured against, (C, K) bool: all that its own text does not contain.

        >>> nothing = NullWords(("thing", "boat"), torch.zeros(2, 4))
        >>> nothing.beside([Concept("boat", "a yellow boat"), Concept("tree", "tree")]).tolist()
        [[True, False], [True, True]]
        """
        rows = []
        for concept in concepts:
            own = set(re.findall(r"\w+", concept.text.casefold()))
            row = [word not in own for word in self.words]
            rows.append(row if any(row) else [True] * len(row))
        return torch.tensor(rows)

    def apart(self, embeddings: Tensor, pads: int) -> RowsApart:
        """The concepts, (C, E), and the words, each beside so many padding tokens, for which one zero row stands."""
        rows = torch.cat([embeddings, self.embeddings.to(embeddings)])
        if pads:
            rows = torch.cat([rows, torch.zeros_like(rows[:1])])
        bias = torch.full((len(rows), len(rows)), -math.inf).fill_diagonal_(0.0)
        if pads:
            bias[:, -1] = math.log(pads)
        return RowsApart(rows, bias[None])

    def log_odds(self, image_out: Tensor, apart_out: Tensor, concepts: Sequence[Concept], mode: Mode) -> Tensor:
        """Log-odds of every concept against its words together, (B, C, N), float32.

        `s_c / t - logsumexp(s_k / t)` with the mode's scores s and temperature t: the logarithm of the ratio of the
        share that the concept would have among itself and the words to the share of these.

        Args:
            image_out: attention outputs of the image tokens, (B, N, D), any float dtype.
            apart_out: those of the rows that `apart` made, (B, R, D).
            concepts: C concepts, in the order of the rows.
            mode: `paper` compares concepts with each other and is read without that.
        """
        vectors: Vectors = "l2" if mode.vectors == "l2" else "raw"
        count = len(concepts) + len(self.words)
        scores = score_concepts(image_out, apart_out[:, :count], vectors) / mode.temperature
        own, null = scores.split([len(concepts), len(self.words)], dim=1)
        beside = self.beside(concepts).to(null.device)
        return own - torch.stack([null[:, words].logsumexp(dim=1) for words in beside], dim=1)


def null_concepts(words: Sequence[str]) -> tuple[Concept, ...]:
    """Null words as a host's encoder takes them."""
    return tuple(Concept(word, word) for word in words)
