"""Figures of many pictures and their intervals."""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np
import pytest

from concept_attention.evaluation.measured import Measured, estimates, mean_iou


def accuracy(sums: Mapping[str, np.ndarray]) -> dict[str, float]:
    return {"accuracy": float(sums["right"][0] / sums["right"][1])}


def pictures(rights: list[int], precisions: list[float]) -> list[Measured]:
    pairs = zip(rights, precisions, strict=True)
    return [
        Measured(str(n), "", {"right": np.array([right, 10])}, {"precision": value})
        for n, (right, value) in enumerate(pairs)
    ]


def test_counts_are_pooled_and_values_averaged_without_what_is_undefined() -> None:
    found = estimates(pictures([10, 5, 0], [1.0, math.nan, 0.5]), accuracy)
    assert found["accuracy"].value == 0.5 and found["precision"].value == 0.75


def test_the_interval_is_that_of_the_standard_error() -> None:
    """Of 400 coins the standard error is sqrt(p (1 - p) / 400): 95 % lie within 1.96 of them."""
    heads = np.random.default_rng(3).random(400) < 0.3
    found = estimates(pictures([10 * int(one) for one in heads], [float(one) for one in heads]), accuracy)
    error = math.sqrt(heads.mean() * (1 - heads.mean()) / 400)
    for name in ("accuracy", "precision"):
        assert found[name].value == pytest.approx(heads.mean())
        assert found[name].low == pytest.approx(heads.mean() - 1.96 * error, abs=0.006)
        assert found[name].high == pytest.approx(heads.mean() + 1.96 * error, abs=0.006)


def test_equal_pictures_leave_no_doubt() -> None:
    found = estimates(pictures([7] * 5, [0.25] * 5), accuracy)["accuracy"]
    assert (found.low, found.value, found.high) == pytest.approx((0.7, 0.7, 0.7))


def test_classes_that_occur_nowhere_have_no_iou() -> None:
    assert mean_iou(np.array([3, 0, 0]), np.array([6, 2, 0])) == 0.25
    assert math.isnan(mean_iou(np.zeros(2), np.zeros(2)))
