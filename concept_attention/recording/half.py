"""Scores in half precision: relative to an offset per token, so that scores close to each other stay apart.

Near 2,000 float16 has steps of 1, and the softmax of scores rounded to them is off by up to 0.3. Relative to the
token's greatest score, rounding grows only as the share shrinks: shares keep three digits at any magnitude.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable
from typing import NamedTuple

import torch
from torch import Tensor

from ..scores import MODES

logger = logging.getLogger("concept_attention")


class StoredScores(NamedTuple):
    """Scores as recordings keep them.

    Attributes:
        scores: (..., C, N), float32 or float16.
        norms: of the concept vectors, (..., C), float32.
        pad_scores: (..., N), dtype of scores; or None.
        offsets: what the scores and pad scores are relative to, (..., N), float16; or None. In a mode that divides
            scores by norms they are such quotients.
        presence: see `Recording`, (..., C, N), float16; or None. It is the same in any precision of the scores.
    """

    scores: Tensor
    norms: Tensor
    pad_scores: Tensor | None = None
    offsets: Tensor | None = None
    presence: Tensor | None = None


def reads_norms(mode: str) -> bool:
    """Whether a mode divides scores by the norms of the concept vectors."""
    return MODES[mode].vectors == "l2"


def to_half(stored: StoredScores, by_norms: bool) -> StoredScores | None:
    """Scores in half precision; None if they do not fit into it, which is logged.

    Args:
        stored: absolute scores, float32.
        by_norms: see `reads_norms`.
    """
    scores, norms, pads, _, presence = stored
    if not _fit([scores, pads]):
        return None
    weights = _weights(norms, by_norms)
    offsets = (scores / weights).amax(dim=-2).half()
    relative = scores - weights * offsets.float()[..., None, :]
    pads = None if pads is None else pads - offsets.float()
    if not _fit([relative, pads]):
        return None
    return StoredScores(relative.half(), norms, None if pads is None else pads.half(), offsets, presence)


def to_absolute(stored: StoredScores, by_norms: bool) -> StoredScores:
    """Absolute scores, float32; those that `to_half` was given, up to its rounding."""
    scores, norms, pads, offsets, presence = stored
    scores, pads = scores.float(), None if pads is None else pads.float()
    if offsets is None:
        return StoredScores(scores, norms, pads, None, presence)
    whole = scores + _weights(norms, by_norms) * offsets.float()[..., None, :]
    return StoredScores(whole, norms, None if pads is None else pads + offsets.float(), None, presence)


def log_odds_to_half(presence: Tensor) -> Tensor:
    """Log-odds in float16; beyond its range they are certain anyway."""
    most = torch.finfo(torch.float16).max
    return presence.clamp(-most, most).half()


def _weights(norms: Tensor, by_norms: bool) -> Tensor | float:
    return norms[..., None].clamp_min(torch.finfo(torch.float32).tiny) if by_norms else 1.0


def _fit(tensors: Iterable[Tensor | None]) -> bool:
    """Whether float16 can hold every number of the tensors; if not, this is logged."""
    peak = max(float(extreme.abs()) for tensor in tensors if tensor is not None for extreme in tensor.aminmax())
    fits = peak <= torch.finfo(torch.float16).max
    if not fits:
        logger.warning("Scores reach %.3g, beyond float16: the recording stays in float32.", peak)
    return fits
