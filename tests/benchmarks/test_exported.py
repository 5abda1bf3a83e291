"""Scenes exported in the formats of real data sets are read back as they were drawn."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from benchmarks.exported import commands, export, largest_only, things_only
from concept_attention.cli.arguments import parse_arguments
from concept_attention.evaluation.datasets.opening import open_dataset
from concept_attention.tiny.evaluation.dataset import Landscapes
from concept_attention.tiny.world.scenes import LABELS, OBJECTS


def test_the_readers_find_the_things_of_every_scene(tmp_path: Path) -> None:
    pytest.importorskip("h5py")
    export(tmp_path, 3, 64)
    landscapes = Landscapes(0, 64, 3)
    voc = open_dataset("voc21", tmp_path / "voc", tmp_path / "voc.txt")
    single = open_dataset("voc-single", tmp_path / "voc-single", tmp_path / "voc.txt")
    imagenet = open_dataset("imagenet-seg", tmp_path / "imagenet", tmp_path / "imagenet.json")
    for index in range(3):
        scene = landscapes[index]
        shown = {LABELS[label] for label in np.unique(scene.labels)} & set(OBJECTS)
        assert set(voc[index].words.values()) == shown
        (word,) = single[index].words.values()
        assert [word] == list(imagenet[index].words.values()) and word in shown
        place = scene.labels == LABELS.index(word)
        assert np.array_equal(single[index].labels > 0, place) and np.array_equal(imagenet[index].labels == 1, place)
        assert np.array_equal(largest_only(things_only(scene)).labels > 0, place)


def test_every_command_can_be_parsed(tmp_path: Path) -> None:
    parsed = [parse_arguments(command) for command in commands(tmp_path, "tiny")]
    assert {one.dataset for one in parsed} == {"imagenet-seg", "voc-single", "voc", "voc21"}
    assert len({(one.out, one.sweep) for one in parsed}) == len(parsed)
