"""Scores and norms of attention outputs, against the formulas in double precision."""

from __future__ import annotations

import pytest
import torch

from concept_attention.concepts import parse_concepts
from concept_attention.hosts.architecture import Architecture
from concept_attention.hosts.collector import Collector
from concept_attention.hosts.encoded import EncodedConcepts

MODEL = Architecture("flux", layer_count=4, text_width=8, patch=2, default_layers=(2, 3))


def collector() -> Collector:
    return Collector(
        EncodedConcepts(parse_concepts("a, b, c"), torch.zeros(3, 8), (1, 1, 1), "mean"), MODEL, "auto", "auto"
    )


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32])
def test_scores_and_norms_are_those_of_the_vectors_in_double_precision(dtype: torch.dtype) -> None:
    generator = torch.Generator().manual_seed(0)
    image = torch.randn(2, 5, 64, generator=generator).to(dtype)
    concept = torch.randn(2, 3, 64, generator=generator).to(dtype)
    found = collector().score(image, concept)
    assert found.scores.dtype == found.norms.dtype == torch.float32 and found.pad_scores is None
    scores = torch.einsum("bcd,bnd->bcn", concept.double(), image.double())
    torch.testing.assert_close(found.scores.double(), scores, rtol=1e-6, atol=1e-5)
    torch.testing.assert_close(found.norms.double(), concept.double().norm(dim=-1), rtol=1e-6, atol=0)


def test_norms_that_half_precision_cannot_hold_are_finite() -> None:
    concept = torch.full((1, 3, 64), 30_000.0, dtype=torch.float16)  # each a norm of 240 000
    norms = collector().score(torch.ones(1, 2, 64, dtype=torch.float16), concept).norms
    assert norms.flatten().tolist() == pytest.approx([8 * float(concept[0, 0, 0])] * 3)
