"""Metrics against definitions spelled out pixel by pixel, with void pixels, ties and empty classes."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from concept_attention.evaluation.metrics import (
    ConfusionMatrix,
    average_precision,
    class_iou,
    mean_iou,
    paper_imagenet_scores,
    pixel_accuracy,
)

VOID = 255


def random_labels(seed: int, classes: int = 5, void: float = 0.2) -> tuple[Tensor, Tensor]:
    """Prediction (-1 to classes - 1) and truth with void pixels, two pictures of 6 x 9."""
    generator = torch.Generator().manual_seed(seed)
    truth = torch.randint(0, classes, (2, 6, 9), generator=generator)
    guess = torch.randint(-1, classes, (2, 6, 9), generator=generator)
    prediction = torch.where(torch.rand(2, 6, 9, generator=generator) < 0.6, truth, guess)
    truth[torch.rand(2, 6, 9, generator=generator) < void] = VOID
    return prediction, truth


def naive_accuracy(prediction: Tensor, truth: Tensor) -> float:
    right = counted = 0
    for p, t in zip(prediction.flatten().tolist(), truth.flatten().tolist(), strict=True):
        if t != VOID:
            counted += 1
            right += p == t
    return right / counted


def naive_iou(prediction: Tensor, truth: Tensor, label: int) -> float:
    both = either = 0
    for p, t in zip(prediction.flatten().tolist(), truth.flatten().tolist(), strict=True):
        if t != VOID:
            both += p == label and t == label
            either += p == label or t == label
    return both / either if either else math.nan


def naive_average_precision(scores: list[float], truth: list[int]) -> float:
    """Every distinct score as a threshold, high to low, with sets counted from scratch each time."""
    positives, area, recall_before = sum(truth), 0.0, 0.0
    for threshold in sorted(set(scores), reverse=True):
        claimed = [t for s, t in zip(scores, truth, strict=True) if s >= threshold]
        recall = sum(claimed) / positives
        area += (recall - recall_before) * sum(claimed) / len(claimed)
        recall_before = recall
    return area


def naive_paper_rule(heatmap: Tensor, truth: Tensor) -> tuple[float, float, float]:
    """One picture: 3 x 3 blur with mirrored borders, above the mean, nearest neighbour, both planes."""
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
            for plane, (said, true, score) in enumerate(
                [(1 - mask, 1 - target, 1 - opinion), (mask, target, opinion)]
            ):
                right += said == true
                total += 1
                inter += said == 1 and true == 1
                union += said == 1 or true == 1
                scores[plane].append(score)
                labels[plane].append(true)
    precision = naive_average_precision(scores[0] + scores[1], labels[0] + labels[1])
    return right / total, inter / union, precision


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_accuracy_and_iou_are_what_counting_gives(seed: int) -> None:
    prediction, truth = random_labels(seed)
    assert pixel_accuracy(prediction, truth, VOID) == pytest.approx(naive_accuracy(prediction, truth))
    expected = {label: naive_iou(prediction, truth, label) for label in range(5)}
    assert class_iou(prediction, truth, 5, VOID) == pytest.approx(expected)
    assert mean_iou(prediction, truth, 5, VOID) == pytest.approx(sum(expected.values()) / 5)


def test_pictures_added_one_by_one_count_as_if_stacked() -> None:
    prediction, truth = random_labels(3)
    matrix = ConfusionMatrix(5, VOID)
    for picture in range(2):
        matrix.update(prediction[picture], truth[picture])
    assert matrix.pixel_accuracy() == pytest.approx(pixel_accuracy(prediction, truth, VOID))
    assert matrix.class_iou() == pytest.approx(class_iou(prediction, truth, 5, VOID))
    assert matrix.mean_iou() == pytest.approx(mean_iou(prediction, truth, 5, VOID))
    assert int(matrix.counts.sum()) == int((truth != VOID).sum())


def test_predictions_on_void_pixels_never_count() -> None:
    prediction, truth = random_labels(4)
    other = torch.where(truth == VOID, 4 - prediction.clamp(min=0), prediction)
    assert pixel_accuracy(prediction, truth, VOID) == pixel_accuracy(other, truth, VOID)
    assert class_iou(prediction, truth, 5, VOID) == class_iou(other, truth, 5, VOID)


def test_a_negative_void_label_works_for_bytes_and_signed_labels() -> None:
    truth = torch.tensor([-1, 0, 1, -1])
    assert pixel_accuracy(torch.tensor([0, 0, 0, 1]), truth, void=-1) == 0.5
    byte = torch.tensor([255], dtype=torch.uint8)
    assert pixel_accuracy(byte, byte, void=-1) == 1  # 255 is not -1


def test_an_unseen_class_is_nan_and_left_out_of_the_mean() -> None:
    prediction, truth = torch.tensor([0, 0, 1]), torch.tensor([0, 1, 1])
    ious = class_iou(prediction, truth, 4)
    assert math.isnan(ious[2]) and math.isnan(ious[3])
    assert mean_iou(prediction, truth, 4) == pytest.approx((ious[0] + ious[1]) / 2) == 0.5


def test_a_class_that_is_only_predicted_lowers_the_mean() -> None:
    assert mean_iou(torch.tensor([0, 2]), torch.tensor([0, 0]), 3) == pytest.approx((0.5 + 0.0) / 2)


def test_no_class_is_wrong_but_in_no_prediction() -> None:
    prediction, truth = torch.tensor([-1, 0, 1]), torch.tensor([0, 0, 1])
    assert pixel_accuracy(prediction, truth) == pytest.approx(2 / 3)
    assert class_iou(prediction, truth, 2) == {0: 0.5, 1: 1.0}


def test_nothing_to_count_is_nan() -> None:
    truth = torch.full((2, 2), VOID)
    prediction = torch.zeros(2, 2, dtype=torch.long)
    assert math.isnan(pixel_accuracy(prediction, truth, VOID))
    assert math.isnan(mean_iou(prediction, truth, 3, VOID))
    assert math.isnan(ConfusionMatrix(3).pixel_accuracy())


@pytest.mark.parametrize(
    ("prediction", "truth", "message"),
    [
        (torch.zeros(2, 3).long(), torch.zeros(3, 2).long(), "differ in shape"),
        (torch.zeros(2), torch.zeros(2).long(), "Prediction holds labels"),
        (torch.zeros(2).long(), torch.zeros(2), "Truth holds labels"),
        (torch.tensor([3]), torch.tensor([0]), "Predicted labels must lie in -1 to 2"),
        (torch.tensor([0]), torch.tensor([255]), "True labels must lie in 0 to 2"),
    ],
)
def test_labels_that_do_not_fit_are_refused(prediction: Tensor, truth: Tensor, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        class_iou(prediction, truth, 3)


@pytest.mark.parametrize("levels", [4, 15, 10_000])
@pytest.mark.parametrize("seed", [0, 1])
def test_average_precision_with_and_without_ties(levels: int, seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    scores = torch.randint(0, levels, (8, 9), generator=generator) / levels
    truth = torch.rand(8, 9, generator=generator) < scores * 0.8
    expected = naive_average_precision(scores.flatten().tolist(), truth.int().flatten().tolist())
    assert average_precision(scores, truth) == pytest.approx(expected)


def test_average_precision_of_known_rankings() -> None:
    scores = torch.tensor([0.9, 0.8, 0.7, 0.6])
    assert average_precision(scores, torch.tensor([1, 1, 0, 0])) == 1.0
    assert average_precision(scores, torch.tensor([0, 0, 1, 1])) == pytest.approx((1 / 3 + 2 / 4) / 2)
    assert average_precision(torch.full((4,), 0.5), torch.tensor([1, 0, 0, 0])) == 0.25


def test_average_precision_leaves_void_pixels_out() -> None:
    scores = torch.tensor([math.nan, 0.8, 0.7, 0.9])
    truth = torch.tensor([VOID, 1, 0, VOID])
    assert average_precision(scores, truth, VOID) == 1.0


def test_average_precision_without_a_positive_is_nan() -> None:
    assert math.isnan(average_precision(torch.rand(4), torch.zeros(4, dtype=torch.bool)))
    assert math.isnan(average_precision(torch.rand(2), torch.tensor([VOID, VOID]), VOID))


def test_average_precision_refuses_what_it_cannot_rank() -> None:
    with pytest.raises(ValueError, match="finite"):
        average_precision(torch.tensor([math.nan, 1.0]), torch.tensor([0, 1]))
    with pytest.raises(ValueError, match="True labels must lie in 0 to 1"):
        average_precision(torch.rand(2), torch.tensor([0, 2]))


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


def test_the_papers_rule_pools_accuracy_and_averages_precision_over_pictures() -> None:
    generator = torch.Generator().manual_seed(5)
    heatmaps = torch.rand(3, 6, 8, generator=generator)
    truths = torch.rand(3, 12, 12, generator=generator) < 0.5
    singly = [paper_imagenet_scores(h, t) for h, t in zip(heatmaps, truths, strict=True)]
    together = paper_imagenet_scores(heatmaps, truths)
    assert together.accuracy == pytest.approx(sum(one.accuracy for one in singly) / 3)
    assert together.mean_iou == pytest.approx(together.accuracy / (2 - together.accuracy))
    assert together.average_precision == pytest.approx(sum(one.average_precision for one in singly) / 3)


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
