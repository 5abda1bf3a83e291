"""Numbers that tests of every host compare."""

from __future__ import annotations

import torch
from torch import Tensor


def relative_error(actual: Tensor, expected: Tensor) -> float:
    """Largest difference, as a fraction of the largest expected value."""
    assert actual.shape == expected.shape, (actual.shape, expected.shape)
    return float((actual.double() - expected.double()).abs().max() / expected.double().abs().max())


def naive_scores(image_outs: list[Tensor], concept_outs: list[Tensor]) -> Tensor:
    """Dot products of every layer's image tokens (B, N, D) and concepts (B, C, D), (L, B, C, N)."""
    pairs = zip(image_outs, concept_outs, strict=True)
    return torch.stack([torch.einsum("bnd,bcd->bcn", image, concept) for image, concept in pairs])
