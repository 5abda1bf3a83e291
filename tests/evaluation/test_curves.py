"""Boundary F, best F1, calibration error and the area under the ROC curve, against loops and scikit-learn."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from concept_attention.evaluation.curves import area_under_roc, best_f1, boundary_f, calibration_error, thin_iou

sklearn_metrics = pytest.importorskip("sklearn.metrics")


def random(*shape: int, seed: int = 0) -> Tensor:
    return torch.rand(*shape, generator=torch.Generator().manual_seed(seed))


def naive_boundary(mask: Tensor) -> set[tuple[int, int]]:
    height, width = mask.shape
    found = set()
    for y in range(height):
        for x in range(width):
            beside = [(y - 1, x), (y + 1, x), (y, x - 1), (y, x + 1)]
            inside = [(v, u) for v, u in beside if 0 <= v < height and 0 <= u < width]
            if mask[y, x] and not all(mask[v, u] for v, u in inside):
                found.add((y, x))
    return found


def test_a_thin_part_counts_with_what_is_found_around_it() -> None:
    """A mast of 3 pixels above a hull; found are 2 of it, a pixel beside it, one far away, and half the hull."""
    truth, found = torch.zeros(8, 9, dtype=torch.bool), torch.zeros(8, 9, dtype=torch.bool)
    truth[1:4, 4] = truth[4:6, 2:7] = True
    mast = torch.zeros_like(truth)
    mast[1:4, 4] = True
    found[2:4, 4] = found[2, 5] = found[2, 0] = found[4, 2:7] = True
    assert thin_iou(found, truth, mast, 1) == 2 / 4
    assert thin_iou(found, truth, mast, 4) == pytest.approx(2 / 5)
    assert thin_iou(truth, truth, mast, 4) == 1 and thin_iou(~truth, truth, mast, 1) == 0


@pytest.mark.parametrize("tolerance", [0, 1, 2])
def test_boundary_f_equals_loops_over_pixels(tolerance: int) -> None:
    found, truth = random(12, 15) > 0.5, random(12, 15, seed=1) > 0.6
    ours, theirs = naive_boundary(found), naive_boundary(truth)

    def near(pixels: set[tuple[int, int]], others: set[tuple[int, int]]) -> float:
        hits = sum(any(max(abs(y - v), abs(x - u)) <= tolerance for v, u in others) for y, x in pixels)
        return hits / len(pixels)

    precision, recall = near(ours, theirs), near(theirs, ours)
    expected = 2 * precision * recall / (precision + recall)
    assert boundary_f(found, truth, tolerance) == pytest.approx(expected)


def test_boundary_f_of_a_shifted_square_depends_on_the_tolerance() -> None:
    truth, found = torch.zeros(20, 20, dtype=torch.bool), torch.zeros(20, 20, dtype=torch.bool)
    truth[5:15, 5:15] = True
    found[5:15, 8:18] = True
    assert boundary_f(found, truth, 3) == 1 and boundary_f(found, truth, 2) < 0.9
    assert boundary_f(torch.zeros_like(truth), truth, 2) == 0
    assert math.isnan(boundary_f(found, torch.ones_like(truth), 2))  # the image's border is no edge


@pytest.mark.parametrize("levels", [5, 1000])
def test_best_f1_is_the_greatest_of_the_precision_recall_curve(levels: int) -> None:
    scores, truth = (random(300) * levels).round() / levels, random(300, seed=1) > 0.7
    precision, recall, _ = sklearn_metrics.precision_recall_curve(truth, scores)
    expected = max(2 * p * r / (p + r) for p, r in zip(precision, recall, strict=True) if p + r)
    assert best_f1(scores, truth) == pytest.approx(expected)


@pytest.mark.parametrize("levels", [4, 1000])
def test_the_area_under_the_curve_is_scikit_learns(levels: int) -> None:
    scores, truth = (random(200) * levels).round() / levels, random(200, seed=1) > 0.5
    expected = sklearn_metrics.roc_auc_score(truth, scores)
    assert area_under_roc(scores[truth], scores[~truth]) == pytest.approx(expected)
    assert math.isnan(area_under_roc(scores[:0], scores))


def test_calibration_error_is_the_weighted_gap_of_every_bin() -> None:
    shares, truth = random(500), random(500, seed=1) > 0.4
    expected = 0.0
    for number in range(15):
        inside = (shares > number / 15) & (shares <= (number + 1) / 15)
        if inside.any():
            expected += float((shares[inside].double().mean() - truth[inside].double().mean()).abs() * inside.sum())
    assert calibration_error(shares, truth) == pytest.approx(expected / 500)
    assert calibration_error(torch.tensor([0.0, 1.0]), torch.tensor([False, True])) == 0
