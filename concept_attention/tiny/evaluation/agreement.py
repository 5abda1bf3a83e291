"""Agreement of concept maps with the truth, summed over scenes."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from ...evaluation.metrics import NO_CLASS, ConfusionMatrix, average_precision
from ...recording.recording import Recording
from ..world.clips import Clip
from ..world.scenes import LABELS, Scene, token_coverage

ABSENT = 2  # concepts, after the others, that the scene does not show


@dataclass(frozen=True)
class Evaluation:
    """Agreement of concept maps with the truth, at token resolution.

    Attributes:
        pixel_accuracy: share of all tokens won by the concept that covers most of them, 0-1.
        mean_iou: mean over labels of the intersection over union, each pooled over all scenes, 0-1.
        average_precision: mean over every scene and concept it shows of the share map's average precision, 0-1; nan
            if no concept covers most of any token.
        absent_rate: share of all tokens won by concepts their scene does not show, 0-1.
        frame_accuracy: `pixel_accuracy` of every frame of the clips; one number for images.
        moving_iou: mean over clips, moving things and frames of the intersection over union of the tokens that a
            thing's concept wins and those it covers most of, 0-1; nan for images.
        per_class_iou: intersection over union by label, 0-1; nan if neither shown nor won.
        scenes: number of scenes.
        layers: joint blocks that the maps use.
        mode: scoring mode of the maps.
        width, height: of the scenes, in pixels.
        frames: of the clips, 1 for images.
    """

    pixel_accuracy: float
    mean_iou: float
    average_precision: float
    absent_rate: float
    frame_accuracy: tuple[float, ...]
    moving_iou: float
    per_class_iou: dict[str, float]
    scenes: int
    layers: tuple[int, ...]
    mode: str
    width: int
    height: int
    frames: int


def true_labels(scene: Scene, patch: int = 16) -> Tensor:
    """For every token the index into LABELS of the label that covers most of it, int64.

    Args:
        scene: (H, W) pixels.
        patch: pixels along one side of a token.

    Returns:
        (H / patch, W / patch), of a clip (F, H / patch, W / patch).
    """
    return torch.from_numpy(token_coverage(scene.labels, patch)).argmax(dim=0)


def winners(shares: Tensor) -> Tensor:
    """For every token the position of the concept with the greatest share; -1 for a tie.

    Args:
        shares: (C, H, W), of a video (C, F, H, W), float.

    Returns:
        (H, W), of a video (F, H, W), int64.
    """
    best, position = shares.max(dim=0)
    tied = (shares == best).sum(dim=0) > 1
    return position.masked_fill(tied, NO_CLASS)


class Tally:
    """Running totals over scenes."""

    def __init__(self) -> None:
        self._matrix = ConfusionMatrix(len(LABELS))
        self._precisions: list[float] = []
        self._moving: list[float] = []
        self._correct: list[Tensor] = []  # per scene, the share of correct tokens in every frame
        self._absent = self._tokens = 0

    def add(self, scene: Scene, recording: Recording, shares: Tensor) -> None:
        """Add one scene with its shares, (C, H, W), of a clip (C, F, H, W)."""
        names = [concept.name for concept in recording.concepts]
        truth, won = true_labels(scene, scene.labels.shape[-1] // shares.shape[-1]), winners(shares)
        label_of = torch.tensor([*(LABELS.index(name) for name in names), NO_CLASS])  # -1 finds the last
        self._matrix.update(label_of[won], truth)
        self._correct.append((label_of[won] == truth).reshape(-1, *truth.shape[-2:]).float().mean((1, 2)))
        shown = len(names) - ABSENT
        self._absent += int((won >= shown).sum())
        self._tokens += won.numel()
        for share, label in zip(shares[:shown], label_of[:shown], strict=True):
            precision = average_precision(share, truth == label)
            if not math.isnan(precision):  # not for what is too small to cover most of any token
                self._precisions.append(precision)
        for name in scene.moving if isinstance(scene, Clip) else ():
            self._add_moving(label_of[won] == LABELS.index(name), truth == LABELS.index(name))

    def _add_moving(self, found: Tensor, truth: Tensor) -> None:
        """Add where a moving thing was found and where it is, both (F, H, W) bool."""
        both, either = (one.sum((1, 2)) for one in (found & truth, found | truth))
        self._moving += (both[either > 0] / either[either > 0]).tolist()

    def result(self, last: Recording) -> Evaluation:
        """The figures; `last` is the last scene's recording, for what all scenes share."""
        iou = self._matrix.class_iou()
        return Evaluation(
            pixel_accuracy=self._matrix.pixel_accuracy(),
            mean_iou=self._matrix.mean_iou(),
            average_precision=_mean(self._precisions),
            absent_rate=self._absent / self._tokens,
            frame_accuracy=tuple(torch.stack(self._correct).mean(0).tolist()),
            moving_iou=_mean(self._moving),
            per_class_iou={LABELS[label]: value for label, value in iou.items()},
            scenes=len(self._correct),
            layers=last.layers,
            mode=last.mode,
            width=last.image_size[1],
            height=last.image_size[0],
            frames=len(self._correct[0]),
        )


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values) if values else math.nan
