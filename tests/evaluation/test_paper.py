"""The paper's protocol, against its rules spelled out pixel by pixel."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from concept_attention.evaluation.paper import paper_imagenet_scores

from .test_metrics import naive_average_precision


def naive_paper_rule(heatmap: Tensor, truth: Tensor) -> tuple[float, float, float]:
    """One image: 3 x 3 blur with mirrored borders, above the mean, nearest neighbour, both planes."""
    rows, columns = heatmap.shape
    tap = [math.exp(-0.5), 1.0, math.exp(-0.5)]
    tap = [weight / sum(tap) for weight in tap]
    blurred = torch.zeros(rows, columns)
    for i in range(rows):
        for j in range(columns):
            for dy in (-1, 0, 1):
                for dx in (-1, 0, 1):
                    y, x = abs(i + dy), abs(j + dx)
                    y, x = min(y, 2 * (rows - 1) - y), min(x, 2 * (columns - 1) - x)
                    blurred[i, j] += tap[dy + 1] * tap[dx + 1] * heatmap[y, x]
    level, low, high = blurred.mean(), blurred.min(), blurred.max()
    right = total = 0
    inter = union = 0
    scores: list[list[float]] = [[], []]
    labels: list[list[int]] = [[], []]
    height, width = truth.shape
    for i in range(height):
        for j in range(width):
            value = blurred[i * rows // height, j * columns // width]
            mask, target = int(value > level), int(truth[i, j])
            opinion = float((value - low) / (high - low))
            for plane, (said, true, score) in enumerate([(1 - mask, 1 - target, 1 - opinion), (mask, target, opinion)]):
                right += said == true
                total += 1
                inter += said == 1 and true == 1
                union += said == 1 or true == 1
                scores[plane].append(score)
                labels[plane].append(true)
    precision = naive_average_precision(scores[0] + scores[1], labels[0] + labels[1])
    return right / total, inter / union, precision


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_the_papers_rule_is_reproduced_step_by_step(seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    heatmap = torch.rand(6, 8, generator=generator)
    truth = torch.rand(20, 28, generator=generator) < 0.4
    accuracy, iou, precision = naive_paper_rule(heatmap, truth)
    scores = paper_imagenet_scores(heatmap, truth)
    assert scores.accuracy == pytest.approx(accuracy)
    assert scores.mean_iou == pytest.approx(iou)  # counted over both planes, not derived from accuracy
    assert scores.average_precision == pytest.approx(precision)
    assert iou == pytest.approx(accuracy / (2 - accuracy))


def test_the_papers_table_obeys_the_same_identity() -> None:
    accuracy, published_iou = 0.8307, 0.7104
    assert accuracy / (2 - accuracy) == pytest.approx(published_iou, abs=5e-5)


def test_the_papers_rule_pools_accuracy_and_averages_precision_over_images() -> None:
    generator = torch.Generator().manual_seed(5)
    heatmaps = torch.rand(3, 6, 8, generator=generator)
    truths = torch.rand(3, 12, 12, generator=generator) < 0.5
    singly = [paper_imagenet_scores(h, t) for h, t in zip(heatmaps, truths, strict=True)]
    together = paper_imagenet_scores(heatmaps, truths)
    assert together.accuracy == pytest.approx(sum(one.accuracy for one in singly) / 3)
    assert together.mean_iou == pytest.approx(together.accuracy / (2 - together.accuracy))
    assert together.average_precision == pytest.approx(sum(one.average_precision for one in singly) / 3)
    assert together.area_under_roc == pytest.approx(sum(one.area_under_roc for one in singly) / 3)


def test_the_area_under_the_curve_is_the_chance_that_an_object_pixel_has_the_greater_value() -> None:
    generator = torch.Generator().manual_seed(3)
    heatmap, truth = torch.rand(6, 6, generator=generator), torch.rand(6, 6, generator=generator) < 0.4
    pairs = [(a > b) + (a == b) / 2 for a in heatmap[truth].tolist() for b in heatmap[~truth].tolist()]
    scores = paper_imagenet_scores(heatmap, truth, blur=False)
    assert scores.area_under_roc == pytest.approx(sum(pairs) / len(pairs))


def test_the_papers_rule_on_a_flat_map_claims_nothing() -> None:
    truth = torch.zeros(8, 8, dtype=torch.bool)
    truth[:2] = True
    scores = paper_imagenet_scores(torch.full((4, 4), 0.3), truth)
    assert scores.accuracy == 0.75
    assert scores.average_precision == 0.5


def test_the_papers_rule_refuses_maps_and_truths_that_do_not_pair() -> None:
    with pytest.raises(ValueError, match="as many truths"):
        paper_imagenet_scores(torch.rand(2, 4, 4), torch.zeros(3, 8, 8, dtype=torch.bool))
    with pytest.raises(ValueError, match="as many truths"):
        paper_imagenet_scores(torch.rand(1, 4), torch.zeros(8, 8, dtype=torch.bool))
    with pytest.raises(ValueError, match="must lie in 0 to 1"):
        paper_imagenet_scores(torch.rand(4, 4), torch.full((8, 8), 2))
