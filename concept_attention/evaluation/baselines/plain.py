"""Maps that know nothing of the picture: every table needs them."""

from __future__ import annotations

import torch
from torch import Tensor

from ..question import Question

SIDE = 64
SIGMA = 0.25  # of the side


def uniform(question: Question) -> Tensor:
    """The same share everywhere for every concept, (C, 64, 64)."""
    count = len(question.concepts)
    return torch.full((count, SIDE, SIDE), 1 / count)


def centre(question: Question) -> Tensor:
    """A Gaussian in the middle, shared by the classes; the rest is shared by all others, (C, 64, 64)."""
    places = (torch.arange(SIDE) + 0.5) / SIDE - 0.5
    middle = torch.exp(-(places[:, None] ** 2 + places**2) / (2 * SIGMA**2))
    asked = torch.tensor([label is not None for label in question.labels])
    others = max(1, int((~asked).sum()))
    return torch.stack([middle / int(asked.sum()) if one else (1 - middle) / others for one in asked])
