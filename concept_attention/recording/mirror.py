"""A recording of a picture, joined with one of the picture mirrored."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from .recording import Recording

_OF_TOKENS = ("scores", "pad_scores", "presence")


def with_mirrored(recording: Recording, mirrored: Recording) -> Recording:
    """Both as the steps of one recording, so that heatmaps are their mean; the mirrored one is turned back.

    Args:
        recording: of a picture, float32, of every step.
        mirrored: the same of the picture mirrored left to right.

    Returns:
        A recording whose later steps are those of the mirrored picture, numbered on.

    Raises:
        ValueError: if one has float16 scores or keeps only a mean.
    """
    if any(one.offsets is not None or one.averaged is not None for one in (recording, mirrored)):
        raise ValueError("Recordings are joined in float32, with every step.")

    def joined(name: str) -> Tensor | None:
        first, second = getattr(recording, name), getattr(mirrored, name)
        if first is None:
            return None
        grid = second.unflatten(-1, recording.grid) if name in _OF_TOKENS else None
        return torch.cat([first, second if grid is None else grid.flip(-1).flatten(-3)])

    after = recording.steps[-1] + 1
    tensors: dict[str, Any] = {name: joined(name) for name in (*_OF_TOKENS, "norms")}
    return replace(
        recording,
        **tensors,
        steps=(*recording.steps, *(after + step for step in mirrored.steps)),
        sigmas=(*recording.sigmas, *mirrored.sigmas),
    )
