"""The paper's protocols and the stricter one, against numbers worked out by hand."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from concept_attention.evaluation.datasets.example import VOID, Example, shown_words
from concept_attention.evaluation.protocols import protocol_for
from concept_attention.evaluation.settings import Settings, default_settings

CLASSES = ("background", "dog", "cat")


class Few:
    """A data set of given label maps."""

    background = True
    files: Sequence[Path] = ()
    words_from = ""

    def __init__(self, name: str, *labels: np.ndarray) -> None:
        self.name, self.classes, self._labels = name, CLASSES, labels

    def __len__(self) -> int:
        return len(self._labels)

    def __getitem__(self, index: int) -> Example:
        labels = self._labels[index]
        image = Image.new("RGB", (labels.shape[1], labels.shape[0]))
        return Example(str(index), image, labels, shown_words(labels, CLASSES, background=True))


def halves(left: int, right: int, side: int = 224) -> np.ndarray:
    labels = np.full((side, side), left, dtype=np.uint8)
    labels[:, side // 2 :] = right
    return labels


def columns(*values: float) -> Tensor:
    """A map whose columns have these values, (n, n)."""
    return torch.tensor(values).expand(len(values), -1).clone()


def test_the_papers_settings_are_those_of_its_scripts() -> None:
    final = default_settings("imagenet-seg", "paper", 19, True)
    assert (final.noise, final.samples, final.seed, final.layers, final.mode) == (0.5, 5, 4, "14-17", "paper")
    assert final.background == ("background", "floor", "tree", "person", "grass", "face") and final.softmax
    single, multi = (default_settings(name, "paper", 19, True) for name in ("voc-single", "voc"))
    assert (single.noise, single.layers, single.softmax, single.seed) == (0.5128, "14-18", False, 0)
    assert multi.layers == "14-17" and default_settings("voc", "paper", 4, True).layers == "auto"


def test_imagenet_asks_for_the_object_first_in_a_square_picture() -> None:
    data = Few("imagenet-seg", halves(0, 1, 100))
    protocol = protocol_for(data, default_settings("imagenet-seg", "paper", 19, True), 1024)
    question = protocol.ask(data[0])
    assert question is not None and question.image.size == (1024, 1024) and question.prompt == "a dog"
    texts = [concept.text for concept in question.concepts]
    assert texts == ["dog", "background", "floor", "tree", "person", "grass", "face"]
    assert question.labels == (1, *[None] * 6)


def test_a_word_that_is_asked_for_may_also_be_a_background_word() -> None:
    settings = Settings("paper", background=("dog", "sky"))
    question = protocol_for(Few("imagenet-seg"), settings, 64).ask(Few("imagenet-seg", halves(0, 1))[0])
    assert question is not None
    assert [one.name for one in question.concepts] == ["dog", "dog (background)", "sky"]
    assert [one.text for one in question.concepts] == ["dog", "dog", "sky"]


def test_imagenet_counts_right_pixels_of_a_mask_above_the_mean() -> None:
    """Columns 2 and 3 of 4 are above the mean after the blur; the object is columns 1 to 3: a fourth is wrong."""
    labels = np.zeros((224, 224), dtype=np.uint8)
    labels[:, 56:] = 1
    data = Few("imagenet-seg", labels)
    protocol = protocol_for(data, Settings("paper", blur=False), 64)
    question = protocol.ask(data[0])
    assert question is not None
    measured = protocol.measure(data[0], question, columns(0.0, 0.1, 0.9, 1.0)[None])
    assert protocol.pool(measured.counts) == pytest.approx({"accuracy": 0.75, "paper_iou": 0.75 / 1.25})
    assert measured.word == "dog"


def test_single_takes_pictures_of_one_class_only_after_resizing() -> None:
    small = halves(0, 1, 1000)
    small[0, 0] = 2  # gone at 224 x 224
    data = Few("voc-single", halves(0, 1), halves(1, 2), halves(0, 0), small)
    protocol = protocol_for(data, Settings("paper"), 64)
    assert [protocol.ask(data[n]) is not None for n in range(4)] == [True, False, False, True]


def test_single_counts_void_once_in_the_accuracy_and_not_at_all_in_the_iou() -> None:
    """Of 4 columns the first is void; the target wins columns 1 and 2, and is in 2 and 3."""
    labels = np.zeros((224, 224), dtype=np.uint8)
    labels[:, :56], labels[:, 112:] = VOID, 1
    data = Few("voc-single", labels)
    protocol = protocol_for(data, Settings("paper", background=("sky",), blur=False, softmax=False), 64)
    question = protocol.ask(data[0])
    assert question is not None and [one.text for one in question.concepts] == ["sky", "dog"]
    target = columns(0.9, 0.8, 0.7, 0.1)
    measured = protocol.measure(data[0], question, torch.stack([torch.full_like(target, 0.5), target]))
    found = protocol.pool(measured.counts)
    assert found["accuracy"] == pytest.approx(2 * 1 / (2 * 3 + 1))
    assert found["mean_iou"] == pytest.approx((1 / 3 + 0) / 2)  # dog: 1 of {1, 2, 3}; background: nothing right


def test_multi_keeps_void_in_the_union_of_predictions() -> None:
    """Of 4 columns: void, background, dog, cat; dog is predicted in the first three, cat in the last."""
    labels = np.zeros((64, 64), dtype=np.uint8)
    for place, value in enumerate((VOID, 0, 1, 2)):
        labels[:, 16 * place : 16 * place + 16] = value
    data = Few("voc", labels)
    protocol = protocol_for(data, Settings("paper", background=("sky",)), 64)
    question = protocol.ask(data[0])
    assert question is not None and question.prompt == "a dog,a cat"
    dog, cat = columns(0.9, 0.9, 0.9, 0.1), columns(0.1, 0.1, 0.1, 0.8)
    found = protocol.pool(protocol.measure(data[0], question, torch.stack([torch.zeros_like(dog), dog, cat])).counts)
    assert found["accuracy"] == pytest.approx(2 / 3)
    assert found["mean_iou"] == pytest.approx((0 + 1 / 3 + 1) / 3)


def test_proper_leaves_void_out_and_keeps_the_pictures_shape() -> None:
    labels = np.zeros((40, 80), dtype=np.uint8)
    for place, value in enumerate((VOID, 0, 1, 2)):
        labels[:, 20 * place : 20 * place + 20] = value
    data = Few("voc21", labels)
    protocol = protocol_for(data, Settings("proper", background=("sky",)), 64)
    question = protocol.ask(data[0])
    assert question is not None and not question.square and question.image.size == (80, 40)
    maps = torch.zeros(3, 40, 80)  # dog, cat, sky
    maps[0, :, :60], maps[1, :, 60:] = 0.9, 0.8
    maps[2] = 0.5
    measured = protocol.measure(data[0], question, maps)
    assert protocol.pool(measured.counts) == pytest.approx({"accuracy": 2 / 3, "mean_iou": (0 + 1 / 2 + 1) / 3})
    assert measured.values["picture_iou"] == pytest.approx(0.5)
    assert measured.values["average_precision"] == pytest.approx((0.5 + 1) / 2)
    assert measured.values["best_f1"] == pytest.approx((2 / 3 + 1) / 2)
    assert measured.values["leakage"] == pytest.approx(0)  # no map reaches into the other class


def test_proper_asks_for_one_concept_that_is_not_there_and_ranks_it() -> None:
    data = Few("voc21", halves(0, 1))
    protocol = protocol_for(data, Settings("proper"), 64)
    question = protocol.ask(data[0])
    assert question is not None and [one.text for one in question.concepts] == ["dog", "cat"]
    assert question.labels == (1, None)
    maps = torch.stack([columns(0.2, 0.2, 0.9, 0.9), columns(0.8, 0.8, 0.1, 0.1)])
    measured = protocol.measure(data[0], question, maps)
    assert measured.values["absence_mean"] == 1 and measured.values["absence_peak"] == 1
    assert protocol.measure(data[0], question, maps.flip(0)).values["absence_peak"] == 0
    assert protocol.measure(data[0], question, torch.full((2, 4, 4), 0.5)).values["absence_mean"] == 0.5


def test_proper_measures_thin_parts_of_what_is_asked_for() -> None:
    """A mast of two columns of 40 pixels, of which one is found, and one of the hull's that does not count."""
    labels = np.zeros((80, 80), dtype=np.uint8)
    labels[20:60, 30:32] = labels[60:70, 20:60] = 1
    mast = np.zeros((80, 80), dtype=bool)
    mast[20:60, 30:32] = True
    data = Few("voc21", labels)
    example = replace(data[0], thin={"mast": (1, mast), "tail": (2, mast)})  # nobody asks for a cat
    protocol = protocol_for(data, Settings("proper", background=("sky",)), 64)
    question = protocol.ask(example)
    assert question is not None
    maps = torch.full((3, 80, 80), 0.4)
    maps[0] = torch.from_numpy(labels == 1).float()
    maps[0, :60, 31:33] = 0  # the second column of the mast is missed
    maps[0, 20:60, 29] = 1  # and one beside the first is found
    assert protocol.measure(example, question, maps).values["thin_iou"] == pytest.approx(40 / 120)
    assert "thin_iou" not in protocol.measure(data[0], question, maps).values


def test_all_classes_at_once_are_every_name_of_the_data_set() -> None:
    data = Few("voc21", halves(0, 1))
    question = protocol_for(data, Settings("proper", classes="all"), 64).ask(data[0])
    assert question is not None and [one.text for one in question.concepts] == ["dog", "cat"]
    assert question.labels == (1, 2)


def test_low_resolution_pictures_have_their_size_but_not_their_detail() -> None:
    noise = np.random.default_rng(0).integers(0, 256, (64, 96, 3), dtype=np.uint8)
    example = Example("a", Image.fromarray(noise), halves(0, 1, 64), {1: "dog"})
    question = protocol_for(Few("voc21"), Settings("proper", low=12), 64).ask(example)
    assert question is not None and question.image.size == (96, 64)
    assert np.asarray(question.image).std() < 0.5 * noise.std()
