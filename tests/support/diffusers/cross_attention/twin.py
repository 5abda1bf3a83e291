"""Scores of concepts that are read as keys, from the attention calls of two evaluations of the whole transformer."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from ..tiny_transformers import Arguments
from .family import Attended, CrossFamily

OF_A_STEP = ("timestep", "sigma", "pooled_projections")  # what a concept's keys may depend on beside its text


def _observed(family: CrossFamily, transformer: Any, inputs: Arguments, grid: Sequence[int]) -> list[Attended]:
    text = inputs["encoder_hidden_states"]
    one = dataclasses.replace(family, frames=grid[0])
    with one.observed(grid[1], grid[2], text.shape[-2]) as calls, torch.no_grad():
        transformer(**inputs)
    return calls


def cross_twin(
    family: CrossFamily,
    transformer: Any,
    call: Arguments,
    alone: Arguments,
    places: Sequence[int],
    grid: Sequence[int],
    rows: slice,
) -> Tensor:
    """Logarithm of the attention to each concept beside the prompt, the mean over heads and tokens, (L, B, C, N).

    Args:
        family, transformer: whose attention calls are seen.
        call: arguments of an evaluation of prompts.
        alone: those of one whose prompts are the concepts.
        places: among the keys of a concept's prompt, its own.
        grid: of tokens.
        rows: of `call` that are looked at.
    """
    layers = _observed(family, transformer, call, grid)
    found: list[list[Tensor]] = [[] for _ in layers]
    batch = len(layers[0].queries)
    for row in range(*rows.indices(batch)):
        step = {name: _row(call[name], row, alone[name]) for name in OF_A_STEP if isinstance(call.get(name), Tensor)}
        for scores, seen, own in zip(
            found, layers, _observed(family, transformer, {**alone, **step}, grid), strict=True
        ):
            logits = seen.queries[row] @ own.keys[:, :, list(places)].mT * seen.scale  # (C, heads, N, tokens)
            scores.append((logits - seen.total[row]).exp().mean((1, 3)).log())
    return torch.stack([torch.stack(scores) for scores in found])


def _row(values: Tensor, row: int, like: Tensor) -> Tensor:
    """The value of a row, for every row of something else."""
    return values if values.ndim == 0 else values[row].expand_as(like)
