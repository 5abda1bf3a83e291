"""Metrics of maps and masks against label maps: accuracy, intersection over union, average precision."""

from __future__ import annotations

import math

import torch
from torch import Tensor

NO_CLASS = -1  # a prediction that claims no class at all: always wrong, in no class's prediction


class ConfusionMatrix:
    """Counts of (true, predicted) labels, pooled over a data set image by image.

    Args:
        classes: how many classes there are; labels are 0 to classes - 1.
        void: true label of the pixels to leave out, of prediction and truth alike, if any.

    Attributes:
        counts: pixels by true class (rows) and predicted class (columns; the last one is "no class"),
            (classes, classes + 1), int64.

    Raises:
        ValueError: for less than one class.

    >>> matrix = ConfusionMatrix(classes=2, void=255)
    >>> matrix.update(torch.tensor([0, 1, 1, 1]), torch.tensor([0, 0, 1, 255]))
    >>> matrix.counts.tolist()
    [[1, 1, 0], [0, 1, 0]]
    >>> round(matrix.pixel_accuracy(), 3), matrix.mean_iou()
    (0.667, 0.5)
    """

    def __init__(self, classes: int, void: int | None = None) -> None:
        if classes < 1:
            raise ValueError(f"A confusion matrix needs 1 class or more, got {classes}.")
        self.classes = classes
        self.void = void
        self.counts = torch.zeros(classes, classes + 1, dtype=torch.int64)

    def update(self, prediction: Tensor, truth: Tensor) -> None:
        """Add images.

        Args:
            prediction: labels 0 to classes - 1, or -1 for "no class", any shape, integer or bool.
            truth: labels 0 to classes - 1, or `void`, same shape, integer or bool.

        Raises:
            ValueError: if shapes differ, or labels are floats or out of range.
        """
        if prediction.is_floating_point():
            raise ValueError(f"Prediction holds labels, integer or bool; got {prediction.dtype}. Use .long().")
        predicted, true = _counted(prediction.long(), truth, self.void)
        _check_range("True", true, 0, self.classes)
        _check_range("Predicted", predicted, NO_CLASS, self.classes)
        columns = torch.where(predicted == NO_CLASS, self.classes, predicted)
        pairs = true * (self.classes + 1) + columns
        self.counts += torch.bincount(pairs, minlength=self.counts.numel()).reshape(self.counts.shape)

    def pixel_accuracy(self) -> float:
        """Share of all pixels counted so far whose label is right, [0, 1]; nan before the first pixel."""
        return _ratio(self.counts.diagonal().sum(), self.counts.sum())

    def class_iou(self) -> dict[int, float]:
        """IoU in [0, 1] of every class; nan for a class neither in the truth nor in the prediction."""
        both = self.counts.diagonal()
        either = self.counts.sum(dim=1) + self.counts.sum(dim=0)[:-1] - both
        return {label: _ratio(both[label], either[label]) for label in range(self.classes)}

    def mean_iou(self) -> float:
        """Mean IoU of the classes in truth or prediction, [0, 1]; nan before the first pixel."""
        present = [iou for iou in self.class_iou().values() if not math.isnan(iou)]
        return _ratio(sum(present), len(present))


def average_precision(scores: Tensor, truth: Tensor, void: int | None = None) -> float:
    """Average precision of float scores against a binary truth.

    The sum over distinct thresholds, high to low, of (gain in recall) x (precision at that threshold): no
    interpolation, equal scores count as one threshold (scikit-learn's `average_precision_score`).

    Args:
        scores: higher means "more likely true", any shape, float, finite.
        truth: 0 or 1 (or `void`), same shape, integer or bool.
        void: true label of the pixels to leave out, if any.

    Returns:
        Average precision in [0, 1], pooled over everything given; nan without a positive pixel.

    Raises:
        ValueError: if shapes differ, scores are not finite or truth is not binary.

    >>> scores = torch.tensor([0.9, 0.8, 0.7, 0.1])
    >>> round(average_precision(scores, torch.tensor([1, 0, 1, 0])), 3)  # (1 + 2/3) / 2
    0.833
    """
    ranked, true = _counted(scores, truth, void)
    if not torch.isfinite(ranked).all():
        raise ValueError("Average precision needs finite scores, got nan or infinity. Mark such pixels void.")
    _check_range("True", true, 0, 2)
    ranked, order = ranked.sort(descending=True)
    hits = true[order].cumsum(0)
    last_of_tie = torch.ones_like(ranked, dtype=torch.bool)
    last_of_tie[:-1] = ranked[:-1] != ranked[1:]
    claimed = torch.arange(1, len(ranked) + 1)[last_of_tie]
    hits = hits[last_of_tie]
    gained = torch.diff(hits, prepend=hits.new_zeros(1))
    return _ratio((gained * (hits / claimed.double())).sum(), true.sum())


def _counted(values: Tensor, truth: Tensor, void: int | None) -> tuple[Tensor, Tensor]:
    """Values and int64 labels of the pixels that count, both (n,) on the CPU."""
    if values.shape != truth.shape:
        raise ValueError(f"Prediction {tuple(values.shape)} and truth {tuple(truth.shape)} differ in shape.")
    if truth.is_floating_point():
        raise ValueError(f"Truth holds labels, integer or bool; got {truth.dtype}. Convert it with .long().")
    values, truth = values.detach().cpu().flatten(), truth.detach().cpu().flatten().long()
    return (values, truth) if void is None else (values[truth != void], truth[truth != void])


def _check_range(what: str, labels: Tensor, low: int, end: int) -> None:
    if labels.numel() and not (low <= int(labels.min()) and int(labels.max()) < end):
        raise ValueError(
            f"{what} labels must lie in {low} to {end - 1}, got {int(labels.min())} to {int(labels.max())}. "
            "Name the label of pixels to leave out with `void`."
        )


def _ratio(part: Tensor | float, whole: Tensor | float) -> float:
    return float(part) / float(whole) if whole else math.nan
