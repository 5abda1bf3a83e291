"""Metrics against definitions spelled out pixel by pixel, with void pixels, ties and empty classes."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from concept_attention.evaluation.metrics import ConfusionMatrix, average_precision

VOID = 255


def random_labels(seed: int, classes: int = 5, void: float = 0.2) -> tuple[Tensor, Tensor]:
    """Prediction (-1 to classes - 1) and truth with void pixels, two images of 6 x 9."""
    generator = torch.Generator().manual_seed(seed)
    truth = torch.randint(0, classes, (2, 6, 9), generator=generator)
    guess = torch.randint(-1, classes, (2, 6, 9), generator=generator)
    prediction = torch.where(torch.rand(2, 6, 9, generator=generator) < 0.6, truth, guess)
    truth[torch.rand(2, 6, 9, generator=generator) < void] = VOID
    return prediction, truth


def counted(prediction: Tensor, truth: Tensor, classes: int = 5, void: int | None = VOID) -> ConfusionMatrix:
    matrix = ConfusionMatrix(classes, void)
    matrix.update(prediction, truth)
    return matrix


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


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_accuracy_and_iou_are_what_counting_gives(seed: int) -> None:
    prediction, truth = random_labels(seed)
    matrix = counted(prediction, truth)
    assert matrix.pixel_accuracy() == pytest.approx(naive_accuracy(prediction, truth))
    expected = {label: naive_iou(prediction, truth, label) for label in range(5)}
    assert matrix.class_iou() == pytest.approx(expected)
    assert matrix.mean_iou() == pytest.approx(sum(expected.values()) / 5)


def test_images_added_one_by_one_count_as_if_stacked() -> None:
    prediction, truth = random_labels(3)
    matrix = ConfusionMatrix(5, VOID)
    for image in range(2):
        matrix.update(prediction[image], truth[image])
    assert torch.equal(matrix.counts, counted(prediction, truth).counts)
    assert int(matrix.counts.sum()) == int((truth != VOID).sum())


def test_predictions_on_void_pixels_never_count() -> None:
    prediction, truth = random_labels(4)
    other = torch.where(truth == VOID, 4 - prediction.clamp(min=0), prediction)
    assert not torch.equal(other, prediction)
    assert torch.equal(counted(prediction, truth).counts, counted(other, truth).counts)


def test_a_negative_void_label_works_for_bytes_and_signed_labels() -> None:
    truth = torch.tensor([-1, 0, 1, -1])
    assert counted(torch.tensor([0, 0, 0, 1]), truth, void=-1).pixel_accuracy() == 0.5
    byte = torch.tensor([255], dtype=torch.uint8)
    assert counted(byte, byte, classes=256, void=-1).pixel_accuracy() == 1  # 255 is not -1


def test_an_unseen_class_is_nan_and_left_out_of_the_mean() -> None:
    prediction, truth = torch.tensor([0, 0, 1]), torch.tensor([0, 1, 1])
    matrix = counted(prediction, truth, 4)
    ious = matrix.class_iou()
    assert math.isnan(ious[2]) and math.isnan(ious[3])
    assert matrix.mean_iou() == pytest.approx((ious[0] + ious[1]) / 2) == 0.5


def test_a_class_that_is_only_predicted_lowers_the_mean() -> None:
    assert counted(torch.tensor([0, 2]), torch.tensor([0, 0]), 3).mean_iou() == pytest.approx((0.5 + 0.0) / 2)


def test_no_class_is_wrong_but_in_no_prediction() -> None:
    prediction, truth = torch.tensor([-1, 0, 1]), torch.tensor([0, 0, 1])
    matrix = counted(prediction, truth, 2)
    assert matrix.pixel_accuracy() == pytest.approx(2 / 3)
    assert matrix.class_iou() == {0: 0.5, 1: 1.0}


def test_nothing_to_count_is_nan() -> None:
    truth = torch.full((2, 2), VOID)
    prediction = torch.zeros(2, 2, dtype=torch.long)
    for matrix in (counted(prediction, truth, 3), ConfusionMatrix(3)):
        assert math.isnan(matrix.pixel_accuracy()) and math.isnan(matrix.mean_iou())


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
        counted(prediction, truth, 3, None)


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
