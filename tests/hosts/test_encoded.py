"""Encoded concepts: pooling and fingerprints."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest
import torch

from concept_attention.choices import POOLINGS, READERS, check_choice
from concept_attention.concepts import parse_concepts
from concept_attention.hosts.encoded import EncodedConcepts, pool, resolve_pooling


def encoded(text: str = "sky, a: b", background: str = "", dtype: torch.dtype = torch.float32) -> EncodedConcepts:
    concepts = parse_concepts(text, background)
    numbers = torch.arange(4 * len(concepts), dtype=dtype).reshape(len(concepts), 4)
    return EncodedConcepts(concepts, numbers, (1,) * len(concepts), "auto")


def test_tokens_are_pooled_by_the_named_rule() -> None:
    states = torch.tensor([[1.0, 2.0], [3.0, 4.0], [8.0, 0.0]])
    found: dict[str, Any] = {name: pool(states, name).tolist() for name in ("first", "last", "mean", "auto")}  # type: ignore[arg-type]
    assert found == {"first": [1, 2], "last": [8, 0], "mean": [4, 2], "auto": [4, 2]}


def test_an_unknown_pooling_is_refused() -> None:
    with pytest.raises(ValueError, match="^Pooling 'max' does not exist. Choose one of auto, first, mean, last.$"):
        check_choice("Pooling", "max", POOLINGS)


def test_an_unknown_reader_is_refused() -> None:
    with pytest.raises(ValueError, match="^Reader 'both' does not exist. Choose one of auto, t5, clip.$"):
        check_choice("Reader", "both", READERS)


def test_auto_is_the_last_token_only_for_causal_encoders() -> None:
    assert [resolve_pooling("auto", causal) for causal in (True, False)] == ["last", "mean"]
    assert resolve_pooling("first", True) == "first"


def test_context_tokens_follow_the_concepts() -> None:
    one = encoded()
    with_start = dataclasses.replace(one, context_tokens=torch.full((1, 4), 9.0))
    assert torch.equal(one.rows(), one.embeddings)
    assert torch.equal(with_start.rows(), torch.cat([one.embeddings, torch.full((1, 4), 9.0)]))
    assert with_start.fingerprint() != one.fingerprint()


def test_equal_concepts_have_equal_fingerprints() -> None:
    assert encoded().fingerprint() == encoded().fingerprint()
    assert len(encoded(dtype=torch.bfloat16).fingerprint()) == 64  # a dtype that numpy lacks


def test_the_fingerprint_depends_on_names_texts_roles_order_values_and_dtype() -> None:
    one = encoded()
    moved = EncodedConcepts(one.concepts, one.embeddings + 1, one.token_counts, one.pooling)
    others = [encoded("sky, a: c"), encoded("sky, b"), encoded("a: b, sky"), encoded("sky", "a: b"), moved]
    others.append(encoded(dtype=torch.float64))
    assert len({case.fingerprint() for case in [one, *others]}) == 1 + len(others)


def test_the_fingerprint_does_not_depend_on_the_memory_layout() -> None:
    one = encoded()
    transposed = EncodedConcepts(one.concepts, one.embeddings.T.contiguous().T, one.token_counts, one.pooling)
    assert transposed.fingerprint() == one.fingerprint()
