"""Protocols: what a model is asked about a picture, and what of its maps is measured."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from random import Random

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor

from ..concepts import Concept
from ..heatmaps.resize import gaussian_blur, resize_maps
from .curves import area_under_roc, best_f1, boundary_f, calibration_error, thin_iou
from .datasets.example import VOID, DataSet, Example, resize_labels
from .measured import Figures, Measured, mean_iou, ratio
from .metrics import average_precision
from .paper import paper_imagenet_scores
from .question import Question
from .settings import Settings

ABSENT = "absent"  # name of the concept that the picture does not show
_SINGLE_SIDE, _MULTI_SIDE = 224, 64
_AROUND = 40  # the neighbourhood of a thin part reaches this fraction of the longer side


class Protocol(ABC):
    """Base class of the protocols.

    Args:
        dataset: whose pictures are asked about.
        settings: of the run.
        side: pixels of a side that the model works at.
    """

    def __init__(self, dataset: DataSet, settings: Settings, side: int) -> None:
        self._dataset, self._settings, self._side = dataset, settings, side

    @abstractmethod
    def ask(self, example: Example) -> Question | None:
        """What to ask about a picture; None if the protocol leaves it out."""

    @abstractmethod
    def measure(self, example: Example, question: Question, maps: Tensor) -> Measured:
        """Compare maps, (C, H, W), one for each concept of the question, with the truth."""

    @abstractmethod
    def pool(self, sums: Mapping[str, np.ndarray]) -> Figures:
        """Figures of the counts, summed over pictures."""

    def _reduced(self, image: Image.Image) -> Image.Image:
        """The picture at low resolution, back at its own size, if that is what the settings ask for."""
        low = self._settings.low
        if low is None:
            return image
        scale = min(1.0, low / max(image.size))
        small = image.resize([max(1, round(length * scale)) for length in image.size], Image.Resampling.BICUBIC)
        return small.resize(image.size, Image.Resampling.BICUBIC)

    def _words(self, example: Example) -> Mapping[int, str]:
        """The words asked for, by label."""
        if self._settings.classes == "present":
            return example.words
        return {n: word for n, word in enumerate(self._dataset.classes) if n or not self._dataset.background}

    def _concepts(self, words: Sequence[str]) -> tuple[Concept, ...]:
        return tuple(Concept(word, word) for word in words)

    def _background(self, words: Sequence[str]) -> tuple[Concept, ...]:
        """The background words; one that is also asked for keeps its text under another name."""
        taken = {word.casefold() for word in words}
        names = [f"{word} (background)" if word.casefold() in taken else word for word in self._settings.background]
        texts = zip(names, self._settings.background, strict=True)
        return tuple(Concept(name, text, "background") for name, text in texts)


class PaperImageNet(Protocol):
    """The paper's protocol for ImageNet-Segmentation: one object a picture, mask above the map's mean, at 224 x 224."""

    def ask(self, example: Example) -> Question | None:
        word = next(iter(example.words.values()), None)
        if word is None:
            return None
        image = self._reduced(example.image).resize((self._side // 2,) * 2, Image.Resampling.BICUBIC)
        image = image.resize((self._side,) * 2, Image.Resampling.NEAREST)
        background = self._background([word])
        labels = (next(iter(example.words)), *[None] * len(background))
        return Question(image, True, (*self._concepts([word]), *background), labels, f"a {word}")

    def measure(self, example: Example, question: Question, maps: Tensor) -> Measured:
        small = torch.from_numpy(resize_labels(example.labels, (_SINGLE_SIDE,) * 2).copy())
        truth = small.eq(next(iter(example.words)))
        found = paper_imagenet_scores(maps[0], truth, blur=self._settings.blur)
        right = np.array([found.accuracy * truth.numel(), truth.numel()])
        values = {"average_precision": found.average_precision, "area_under_roc": found.area_under_roc}
        return Measured(example.id, question.concepts[0].name, {"right": right}, values)

    def pool(self, sums: Mapping[str, np.ndarray]) -> Figures:
        accuracy = ratio(*sums["right"])
        return {"accuracy": accuracy, "paper_iou": accuracy / (2 - accuracy)}


class PaperSingle(Protocol):
    """The paper's protocol for PASCAL VOC pictures of one class: argmax over all concepts, at 224 x 224."""

    def ask(self, example: Example) -> Question | None:
        small = resize_labels(example.labels, (_SINGLE_SIDE,) * 2)
        shown = [int(label) for label in np.unique(small) if label not in (VOID, 0)]
        if len(set(np.unique(small).tolist()) - {VOID}) > 2 or len(shown) != 1:
            return None
        word = self._dataset.classes[shown[0]]
        background = self._background([word])
        labels = (*[None] * len(background), shown[0])
        image = self._reduced(example.image).resize((self._side // 2,) * 2, Image.Resampling.NEAREST)
        image = image.resize((self._side,) * 2, Image.Resampling.NEAREST)
        return Question(image, True, (*background, *self._concepts([word])), labels, f"a {word}")

    def measure(self, example: Example, question: Question, maps: Tensor) -> Measured:
        small = torch.from_numpy(resize_labels(example.labels, (_SINGLE_SIDE,) * 2).copy())
        blurred = gaussian_blur(maps, 1, radius=1, padding="reflect") if self._settings.blur else maps
        prediction = _nearest((blurred.argmax(0) == len(maps) - 1).float(), small.shape).bool()
        counted = small != VOID
        truth = (small != 0) & counted
        right = (prediction == truth) & counted
        classes = [truth, ~truth & counted]
        both = np.array([int((right & one).sum()) for one in classes])
        either = np.array([int((one | (prediction == (n == 0)) & counted).sum()) for n, one in enumerate(classes)])
        score = _nearest(maps[-1], small.shape)[counted]
        planes = torch.stack([1 - score, score]), torch.stack([~truth[counted], truth[counted]])
        pixels = np.array([int(right.sum()), int(counted.sum()), int((~counted).sum())])
        values = {
            "average_precision": average_precision(*planes),
            "area_under_roc": area_under_roc(score[truth[counted]], score[~truth[counted]]),
        }
        counts = {"pixels": pixels, "both": both, "either": either}
        return Measured(example.id, question.concepts[-1].name, counts, values)

    def pool(self, sums: Mapping[str, np.ndarray]) -> Figures:
        right, counted, void = sums["pixels"]
        return {"accuracy": ratio(2 * right, 2 * counted + void), "mean_iou": mean_iou(sums["both"], sums["either"])}


class PaperMulti(Protocol):
    """The paper's protocol for all of PASCAL VOC: argmax over all concepts, at 64 x 64; void counts in predictions."""

    def ask(self, example: Example) -> Question | None:
        if not example.words:
            return None
        words = self._words(example)
        background = self._background(list(words.values()))
        image = self._reduced(example.image).resize((self._side,) * 2, Image.Resampling.NEAREST)
        prompt = ",".join(f"a {word}" for word in example.words.values())
        concepts = (*background, *self._concepts(list(words.values())))
        return Question(image, True, concepts, (*[None] * len(background), *words), prompt)

    def measure(self, example: Example, question: Question, maps: Tensor) -> Measured:
        small = resize_labels(example.labels, (_MULTI_SIDE,) * 2).astype(np.int64)
        count = len(self._dataset.classes)
        nothing = 0 if self._dataset.background else count  # the column of predictions that are no class
        label_of = np.array([nothing if label is None else label for label in question.labels])
        prediction = label_of[_nearest(maps.argmax(0).float(), small.shape).long().numpy()]
        known = small != VOID
        right = (prediction == small) & known
        counts = {
            "right": np.bincount(small[right], minlength=count),
            "truth": np.bincount(small[known], minlength=count),
            "predicted": np.bincount(prediction.flatten(), minlength=count)[:count],
        }
        return Measured(example.id, "", counts)

    def pool(self, sums: Mapping[str, np.ndarray]) -> Figures:
        either = sums["truth"] + sums["predicted"] - sums["right"]
        return {
            "accuracy": ratio(sums["right"].sum(), sums["truth"].sum()),
            "mean_iou": mean_iou(sums["right"], either),
        }


class Proper(Protocol):
    """The protocol that claims rest on: the picture's own shape, labels at their own size, void left out of everything.

    The model also gets one concept that the picture does not show; what it wins is wrong. Figures: pixel accuracy and
    IoU pooled over the set, mean IoU of each picture, average precision, best F1 and calibration error of each shown
    class, F of the boundary (2 pixels at 1024), leakage (what part of a map lies on other labelled classes), and how
    often a concept that is shown has a higher mean or peak share than the one that is not (the area under the ROC curve
    of these pairs, each within its picture).
    """

    def ask(self, example: Example) -> Question | None:
        words = self._words(example)
        if not example.words:
            return None
        background = self._background(list(words.values()))
        others = [word for n, word in enumerate(self._dataset.classes) if n or not self._dataset.background]
        others = sorted(set(others) - set(words.values()) - set(example.words.values()))
        labels: list[int | None] = [*words, *[None] * len(background)]
        concepts = [*self._concepts(list(words.values())), *background]
        if others and self._settings.classes == "present":
            word = Random(f"{example.id} {self._settings.seed}").choice(others)  # noqa: S311 - reproducible
            concepts.append(Concept(ABSENT, word))
            labels.append(None)
        return Question(self._reduced(example.image), False, tuple(concepts), tuple(labels), "")

    def measure(self, example: Example, question: Question, maps: Tensor) -> Measured:
        labels = torch.from_numpy(example.labels.astype(np.int64))
        coarse, maps = maps, resize_maps(maps, (labels.shape[0], labels.shape[1]))
        count, known = len(self._dataset.classes), labels != VOID
        nothing = 0 if self._dataset.background else count  # the column of predictions that are no class
        label_of = torch.tensor([nothing if label is None else label for label in question.labels])
        prediction = label_of[maps.argmax(0)]
        right = labels[(prediction == labels) & known]
        tables = {"right": right, "truth": labels[known], "predicted": prediction[known]}
        counts = {name: np.bincount(one.numpy(), minlength=count + 1)[:count] for name, one in tables.items()}
        either = counts["truth"] + counts["predicted"] - counts["right"]
        values = {"picture_iou": mean_iou(counts["right"], either)}
        values |= self._of_classes(question, maps, labels, prediction, known)
        values |= self._of_thin_parts(example, question, labels, prediction)
        return Measured(example.id, "", counts, values | self._of_absence(example, question, coarse))

    def pool(self, sums: Mapping[str, np.ndarray]) -> Figures:
        either = sums["truth"] + sums["predicted"] - sums["right"]
        return {
            "accuracy": ratio(sums["right"].sum(), sums["truth"].sum()),
            "mean_iou": mean_iou(sums["right"], either),
        }

    def _of_classes(
        self, question: Question, maps: Tensor, labels: Tensor, prediction: Tensor, known: Tensor
    ) -> dict[str, float]:
        """Means over the classes that the picture shows."""
        tolerance = max(1, round(2 * max(labels.shape) / 1024))
        shares = bool(((maps >= 0) & (maps <= 1)).all())
        found: dict[str, list[float]] = {}
        shown = set(labels[known].unique().tolist()) - ({0} if self._dataset.background else set())
        for position, label in enumerate(question.labels):
            if label is None or label not in shown:
                continue
            truth, values = labels.eq(label)[known], maps[position][known]
            others = torch.isin(labels, torch.tensor(sorted(shown - {label}))) if len(shown) > 1 else None
            figures = {
                "average_precision": average_precision(values, truth),
                "best_f1": best_f1(values, truth),
                "boundary_f": boundary_f(prediction.eq(label) & known, labels.eq(label) & known, tolerance),
            }
            if shares:
                figures["calibration_error"] = calibration_error(values, truth)
                if others is not None:
                    figures["leakage"] = ratio(float(maps[position][others & known].sum()), float(values.sum()))
            for name, figure in figures.items():
                found.setdefault(name, []).append(figure)
        return {name: _mean(figures) for name, figures in found.items()}

    def _of_thin_parts(
        self, example: Example, question: Question, labels: Tensor, prediction: Tensor
    ) -> dict[str, float]:
        """Mean over the thin parts that the picture shows of what is asked for."""
        reach = max(1, round(max(labels.shape) / _AROUND))
        found = []
        for label, place in example.thin.values():
            if label not in question.labels:
                continue
            truth = labels.eq(label)
            found.append(thin_iou(prediction.eq(label), truth, torch.from_numpy(place) & truth, reach))
        return {"thin_iou": _mean(found)} if found else {}

    def _of_absence(self, example: Example, question: Question, maps: Tensor) -> dict[str, float]:
        """How often the mean and the peak of a shown concept exceed those of the absent one, ties counting half."""
        absent = [n for n, concept in enumerate(question.concepts) if concept.name == ABSENT]
        shown = [n for n, label in enumerate(question.labels) if label in example.words]
        if not absent or not shown:
            return {}
        found = {}
        for name, figures in (("mean", maps.mean((1, 2))), ("peak", maps.amax((1, 2)))):
            gap = figures[shown] - figures[absent[0]]
            found[f"absence_{name}"] = float(((gap > 0).double() + (gap == 0).double() / 2).mean())
        return found


def protocol_for(dataset: DataSet, settings: Settings, side: int) -> Protocol:
    """The protocol of the settings on a data set."""
    if settings.protocol == "proper":
        return Proper(dataset, settings, side)
    kinds: dict[str, type[Protocol]] = {"imagenet-seg": PaperImageNet, "voc-single": PaperSingle}
    return kinds.get(dataset.name, PaperMulti)(dataset, settings, side)


def _nearest(plane: Tensor, size: Sequence[int]) -> Tensor:
    return F.interpolate(plane[None, None], size=tuple(size), mode="nearest")[0, 0]


def _mean(values: Sequence[float]) -> float:
    known = [value for value in values if not math.isnan(value)]
    return sum(known) / len(known) if known else math.nan
