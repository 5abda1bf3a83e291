"""What tests have to know of a family whose concepts are read as keys. Nothing in it comes from its adapter."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.nn import functional

from concept_attention.hosts.encoded import ConceptText

from ..tiny_transformers import Arguments

TEXT_WIDTH = 48
TOKENS = 7  # of a prompt


class Attended(NamedTuple):
    """One attention call to the text, of the image's tokens.

    Attributes:
        queries, keys: by heads, (B, heads, N or T, head_dim).
        total: logarithm of what attention sums up over the prompt's tokens, (B, heads, N, 1).
        output: by heads, (B, heads, N, head_dim).
        scale: of the logits.
    """

    queries: Tensor
    keys: Tensor
    total: Tensor
    output: Tensor
    scale: float

    def weights(self, tokens: Sequence[int]) -> Tensor:
        """Attention to tokens of the first row's prompt beside the own one, (B, heads, N, n)."""
        own = self.keys[:1, :, list(tokens)]
        return (self.queries @ own.mT * self.scale - self.total).exp()


def first_tokens(inputs: Arguments) -> list[ConceptText]:
    """Every token of the first prompt as a concept."""
    text = inputs["encoder_hidden_states"]
    states = (text[0] if isinstance(text, tuple) else text)[0]
    return [ConceptText(states, (n, n + 1)) for n in range(len(states))]


@dataclass(frozen=True)
class CrossFamily:
    """One family.

    Attributes:
        adapter: name of its adapter's class.
        make: a random transformer of several layers.
        inputs: random arguments of one evaluation, for (transformer, batch, rows, columns, seed).
        texts: concepts that are the words of the first prompt.
        layers: how many there are.
        frames: image tokens along time.
        text: how many keys the attention to the text has, for (prompt's tokens, image's tokens).
        columns: which of these keys are the prompt's, if not all.
        sees: whether an attention with so many queries is that of so many image tokens, for (queries, image's tokens).
        image: which of these queries are the image's.
        grids: rows and columns of every layer for (rows, columns) of the recording, where they differ.
        columns_of: which of the prompt's tokens are a text's own.
        rows_of_frames: whether every frame is a row of the batch.
        before: attention calls to the prompt before those of the layers.
    """

    adapter: str
    make: Callable[[], Any]
    inputs: Callable[..., Arguments]
    texts: Callable[[Arguments], list[ConceptText]] = first_tokens
    layers: int = 3
    frames: int = 1
    text: Callable[[int, int], int] = lambda tokens, image: tokens
    columns: list[int] | None = None
    sees: Callable[[int, int], bool] = lambda queries, image: queries == image
    image: Callable[[int, int], slice] = lambda queries, image: slice(0, image)
    grids: Callable[[int, int], Sequence[tuple[int, int]]] | None = None
    columns_of: Callable[[ConceptText], Sequence[int]] = lambda text: range(*text.own)
    rows_of_frames: bool = False
    before: int = 0

    @contextmanager
    def observed(self, rows: int, columns: int, tokens: int = TOKENS) -> Iterator[list[Attended]]:
        """The attention calls to the prompt meanwhile, in order."""
        image = self.frames * rows * columns
        calls: list[Attended] = []
        attend = functional.scaled_dot_product_attention
        sizes = {image} if self.grids is None else {math.prod(grid) for grid in self.grids(rows, columns)}

        def spied(query: Tensor, key: Tensor, value: Tensor, *rest: Any, **options: Any) -> Tensor:
            q, k = query, key
            output = attend(query, key, value, *rest, **options)
            if k.shape[2] == self.text(tokens, image) and any(self.sees(q.shape[2], size) for size in sizes):
                mask = options.get("attn_mask", rest[0] if rest else None)
                size = image if self.grids is None else q.shape[2]
                calls.append(self._attended(q, k, output, mask, options.get("scale"), size))
            return output

        functional.scaled_dot_product_attention = spied
        try:
            yield calls
            del calls[: self.before]
        finally:
            functional.scaled_dot_product_attention = attend

    @property
    def _prompt(self) -> list[int] | slice:
        return slice(None) if self.columns is None else self.columns

    def _attended(
        self, q: Tensor, k: Tensor, output: Tensor, mask: Tensor | None, scale: float | None, image: int
    ) -> Attended:
        queries, keys = q[:, :, self.image(q.shape[2], image)].clone(), k[:, :, self._prompt].clone()
        scale = scale or q.shape[-1] ** -0.5
        logits = queries @ keys.mT * scale
        if mask is not None:
            mask = mask.expand(len(q), -1, -1, -1)[..., self._prompt]
            logits = logits.masked_fill(~mask, -torch.inf) if mask.dtype == torch.bool else logits + mask
        output = output[:, :, self.image(q.shape[2], image)].clone()
        parts = queries, keys, logits.logsumexp(-1, keepdim=True), output
        return Attended(*(self._videos(part, one) for one, part in enumerate(parts)), scale)

    def _videos(self, part: Tensor, one: int) -> Tensor:
        """A row for every video, of what has one for every frame."""
        if not self.rows_of_frames:
            return part
        if one == 1:  # keys, the same in all frames
            return part[:: self.frames]
        return part.unflatten(0, (-1, self.frames)).transpose(1, 2).flatten(2, 3)


def masked(inputs: Arguments) -> list[ConceptText]:
    """As `first_tokens`, without the last two, which no image token attends to."""
    return first_tokens(inputs)[:-2]


def naive_gram(family: CrossFamily, attended: Attended, texts: Sequence[ConceptText]) -> Tensor:
    """Loops over rows, concepts, frames and heads, (B, C, N); the concepts are words of the first row's prompt."""
    batch, heads, tokens = attended.queries.shape[:3]
    frame = tokens // family.frames
    result = torch.zeros(batch, len(texts), tokens)
    for row in range(batch):
        for concept, text in enumerate(texts):
            for part in (slice(first, first + frame) for first in range(0, tokens, frame)):
                for head in range(heads):
                    key = attended.keys[0, head, list(family.columns_of(text))].mean(0)
                    output = attended.output[row, head, part]
                    anchor = output[int((attended.queries[row, head, part] @ key).argmax())]
                    result[row, concept, part] += torch.cosine_similarity(output, anchor[None], dim=-1) / heads
    return result
