"""How well maps and masks agree with label maps: accuracy, intersection over union, average precision."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from ..heatmaps.resize import gaussian_blur, is_flat, stretch

NO_CLASS = -1  # a prediction that claims no class at all: always wrong, in no class's prediction


def pixel_accuracy(prediction: Tensor, truth: Tensor, void: int | None = None) -> float:
    """Share of the pixels whose predicted label is the true one.

    Args:
        prediction: labels, any shape, integer or bool.
        truth: labels, same shape, integer or bool.
        void: true label of the pixels to leave out, if any.

    Returns:
        Accuracy in [0, 1], pooled over everything given; nan if no pixel counts.

    Raises:
        ValueError: if shapes differ or labels are floats.
    """
    predicted, true = _counted_labels(prediction, truth, void)
    return _ratio((predicted == true).sum(), true.numel())


def class_iou(prediction: Tensor, truth: Tensor, classes: int, void: int | None = None) -> dict[int, float]:
    """Intersection over union of every class, pooled over whatever pictures are stacked.

    Args:
        prediction: labels 0 to classes - 1, or -1 for "no class", any shape, integer or bool.
        truth: labels 0 to classes - 1, or `void`, same shape, integer or bool.
        classes: how many classes there are.
        void: true label of the pixels to leave out (of prediction and truth alike), if any.

    Returns:
        IoU in [0, 1] by class; nan for a class that is neither in the truth nor in the prediction.

    Raises:
        ValueError: if shapes differ, or labels are floats or out of range.
    """
    matrix = ConfusionMatrix(classes, void)
    matrix.update(prediction, truth)
    return matrix.class_iou()


def mean_iou(prediction: Tensor, truth: Tensor, classes: int, void: int | None = None) -> float:
    """Mean of `class_iou` over the classes present in truth or prediction; nan if there is none."""
    matrix = ConfusionMatrix(classes, void)
    matrix.update(prediction, truth)
    return matrix.mean_iou()


class ConfusionMatrix:
    """Counts of (true, predicted) labels over a data set, picture by picture.

    Args:
        classes: how many classes there are; labels are 0 to classes - 1.
        void: true label of the pixels to leave out, if any.

    Attributes:
        counts: pixels by true class (rows) and predicted class (columns; the last one is "no class"),
            (classes, classes + 1), int64.
    """

    def __init__(self, classes: int, void: int | None = None) -> None:
        if classes < 1:
            raise ValueError(f"A confusion matrix needs 1 class or more, got {classes}.")
        self.classes = classes
        self.void = void
        self.counts = torch.zeros(classes, classes + 1, dtype=torch.int64)

    def update(self, prediction: Tensor, truth: Tensor) -> None:
        """Add pictures. Arguments and errors as in `class_iou`."""
        predicted, true = _counted_labels(prediction, truth, self.void)
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


@dataclass(frozen=True)
class PaperScores:
    """What `paper_imagenet_scores` returns, each in [0, 1]; `mean_iou` is accuracy / (2 - accuracy)."""

    accuracy: float
    mean_iou: float
    average_precision: float


def paper_imagenet_scores(heatmap: Tensor, truth: Tensor) -> PaperScores:
    """Score one concept's heatmaps the way the paper's ImageNet segmentation table was made.

    The map is blurred (3 x 3, sigma 1); the mask is where it exceeds its own mean. Mask and map are resized
    to the truth by nearest neighbour. Accuracy is pooled over pictures. What the paper calls mIoU pools the
    planes (1 - mask, mask) before dividing, which makes it accuracy / (2 - accuracy), not the mean of two
    IoUs: use `mean_iou` for that. Average precision is of the planes (1 - map, map) after min-max, averaged
    over pictures.

    Args:
        heatmap: the target concept's maps, (H, W) or (B, H, W), float, at token resolution, at least 2 x 2.
        truth: where the target is, (h, w) or (B, h, w), bool or 0/1; the paper uses 224 x 224.

    Returns:
        PaperScores. A flat map gives an empty mask and the average precision of no opinion, 0.5.

    Raises:
        ValueError: if the shapes do not belong together or truth is not binary.

    Source: arXiv:2502.04320, Table 1, as its published evaluation script computes it.
    """
    fits = heatmap.ndim in (2, 3) and heatmap.shape[:-2] == truth.shape[:-2] and heatmap.ndim == truth.ndim
    if not fits or min(heatmap.shape[-2:]) < 2 or 0 in (*heatmap.shape, *truth.shape):
        raise ValueError(
            "Paper scores need maps (H, W) or (B, H, W), at least 2 x 2, and as many truths; "
            f"got {tuple(heatmap.shape)} and {tuple(truth.shape)}."
        )
    maps = heatmap.detach().cpu().float().reshape(-1, *heatmap.shape[-2:])
    targets = truth.detach().cpu().long().reshape(-1, *truth.shape[-2:])
    accuracies, precisions = [], []
    for blurred, target in zip(gaussian_blur(maps, 1, radius=1, padding="reflect"), targets, strict=True):
        flat = is_flat(blurred)
        mask = torch.zeros_like(blurred) if flat else (blurred > blurred.mean()).float()
        opinion = torch.full_like(blurred, 0.5) if flat else stretch(blurred)
        opinion = _nearest(opinion, target.shape)
        accuracies.append(pixel_accuracy(_nearest(mask, target.shape).long(), target))
        planes = torch.stack([1 - opinion, opinion]), torch.stack([1 - target, target])
        precisions.append(average_precision(*planes))
    accuracy = sum(accuracies) / len(accuracies)
    return PaperScores(accuracy, accuracy / (2 - accuracy), sum(precisions) / len(precisions))


def _nearest(plane: Tensor, size: torch.Size) -> Tensor:
    return F.interpolate(plane[None, None], size=tuple(size), mode="nearest")[0, 0]


def _counted(values: Tensor, truth: Tensor, void: int | None) -> tuple[Tensor, Tensor]:
    """Values and int64 labels of the pixels that count, both (n,) on the CPU."""
    if values.shape != truth.shape:
        raise ValueError(f"Prediction {tuple(values.shape)} and truth {tuple(truth.shape)} differ in shape.")
    if truth.is_floating_point():
        raise ValueError(f"Truth holds labels, integer or bool; got {truth.dtype}. Convert it with .long().")
    values, truth = values.detach().cpu().flatten(), truth.detach().cpu().flatten().long()
    return (values, truth) if void is None else (values[truth != void], truth[truth != void])


def _counted_labels(prediction: Tensor, truth: Tensor, void: int | None) -> tuple[Tensor, Tensor]:
    if prediction.is_floating_point():
        raise ValueError(f"Prediction holds labels, integer or bool; got {prediction.dtype}. Use .long().")
    predicted, true = _counted(prediction, truth, void)
    return predicted.long(), true


def _check_range(what: str, labels: Tensor, low: int, end: int) -> None:
    if labels.numel() and not (low <= int(labels.min()) and int(labels.max()) < end):
        raise ValueError(
            f"{what} labels must lie in {low} to {end - 1}, got {int(labels.min())} to {int(labels.max())}. "
            "Name the label of pixels to leave out with `void`."
        )


def _ratio(part: Tensor | float, whole: Tensor | float) -> float:
    return float(part) / float(whole) if whole else math.nan
