"""The paper's evaluation protocol for segmentation."""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from ..heatmaps.resize import gaussian_blur, is_flat, stretch
from .curves import area_under_roc
from .metrics import average_precision


@dataclass(frozen=True)
class PaperScores:
    """Scores of `paper_imagenet_scores`, each in [0, 1].

    Attributes:
        accuracy, average_precision: as the paper's.
        mean_iou: accuracy / (2 - accuracy).
        area_under_roc: of the map alone, averaged over images; nan if an image has only one of object and rest. The
            paper has none.
    """

    accuracy: float
    mean_iou: float
    average_precision: float
    area_under_roc: float


def paper_imagenet_scores(heatmap: Tensor, truth: Tensor, *, blur: bool = True) -> PaperScores:
    """Score one concept's heatmaps by the protocol of the paper's ImageNet segmentation table.

    The map is blurred (3 x 3, sigma 1); the mask is where it exceeds its own mean. Mask and map are resized
    to the truth by nearest neighbour. Accuracy is pooled over images. What the paper calls mIoU pools the
    planes (1 - mask, mask) before dividing, which makes it accuracy / (2 - accuracy), not the mean of two
    IoUs: use `ConfusionMatrix.mean_iou` for that. Average precision is of the planes (1 - map, map) after
    min-max, averaged over images.

    Args:
        heatmap: the target concept's maps, (H, W) or (B, H, W), float, at token resolution, at least 2 x 2.
        truth: where the target is, (h, w) or (B, h, w), bool or 0/1; the paper uses 224 x 224.
        blur: as in the paper's final table; its table of spaces has maps that are not blurred.

    Returns:
        PaperScores. A flat map gives an empty mask and the average precision of no opinion, 0.5.

    Raises:
        ValueError: if the shapes do not belong together or truth is not binary.

    Source: arXiv:2502.04320, Table 1, as its published evaluation script computes it.

    >>> heatmap = torch.zeros(8, 8)
    >>> heatmap[2:6, 2:6] = 1.0
    >>> truth = torch.zeros(32, 32, dtype=torch.bool)
    >>> truth[8:24, 8:24] = True
    >>> scores = paper_imagenet_scores(heatmap, truth)
    >>> round(scores.accuracy, 3), round(scores.mean_iou, 3), round(scores.average_precision, 3)
    (0.875, 0.778, 1.0)
    """
    fits = heatmap.ndim in (2, 3) and heatmap.shape[:-2] == truth.shape[:-2] and heatmap.ndim == truth.ndim
    if not fits or min(heatmap.shape[-2:]) < 2 or 0 in (*heatmap.shape, *truth.shape):
        raise ValueError(
            "Paper scores need maps (H, W) or (B, H, W), at least 2 x 2, and as many truths; "
            f"got {tuple(heatmap.shape)} and {tuple(truth.shape)}."
        )
    maps = heatmap.detach().cpu().float().reshape(-1, *heatmap.shape[-2:])
    targets = truth.detach().cpu().long().reshape(-1, *truth.shape[-2:])
    accuracies, precisions, areas = [], [], []
    maps = gaussian_blur(maps, 1, radius=1, padding="reflect") if blur else maps
    for blurred, target in zip(maps, targets, strict=True):
        flat = is_flat(blurred)
        mask = torch.zeros_like(blurred) if flat else (blurred > blurred.mean()).float()
        opinion = torch.full_like(blurred, 0.5) if flat else stretch(blurred)
        opinion = _nearest(opinion, target.shape)
        accuracies.append(float((_nearest(mask, target.shape).long() == target).double().mean()))
        planes = torch.stack([1 - opinion, opinion]), torch.stack([1 - target, target])
        precisions.append(average_precision(*planes))
        areas.append(area_under_roc(opinion[target == 1], opinion[target == 0]))
    accuracy = sum(accuracies) / len(accuracies)
    precision, area = (sum(values) / len(values) for values in (precisions, areas))
    return PaperScores(accuracy, accuracy / (2 - accuracy), precision, area)


def _nearest(plane: Tensor, size: torch.Size) -> Tensor:
    return F.interpolate(plane[None, None], size=tuple(size), mode="nearest")[0, 0]
