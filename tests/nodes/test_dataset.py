"""Save Pictures with Masks: what it writes, run after run, and what it refuses."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from .conftest import Pack


def names(folder: Path) -> set[str]:
    files = (path.relative_to(folder) for path in folder.rglob("*") if path.is_file())
    return {path.as_posix() for path in files if path.parts[0] != ".shards"}


def read(path: Path) -> np.ndarray:
    return np.asarray(Image.open(path))


def test_pictures_masks_and_captions_lie_as_a_trainer_reads_them(
    pack: Pack, pictures: torch.Tensor, heatmaps: Any, folders: Path
) -> None:
    wanted = [concept.name for concept in heatmaps.concepts]  # one of them wins
    inputs = {"image": pictures, "heatmaps": heatmaps, "concepts": ", ".join(wanted), "method": "mean"}
    output = pack.run("ConceptDatasetSave", caption="a house", **inputs)
    folder = folders / "output" / "datasets" / "concepts"
    saved = sorted(file.stem for file in (folder / "images").glob("*.png"))
    assert saved == [f"00000_{index:03}" for index in range(len(pictures))]
    for picture, name in zip(pictures, saved, strict=True):
        np.testing.assert_array_equal(read(folder / "images" / f"{name}.png"), (picture * 255).round().byte())
        assert (folder / "images" / f"{name}.txt").read_text() == "a house"
    masks = pack.module("concept_attention.heatmaps.masks").make_masks(heatmaps, wanted, "mean")
    for mask, name in zip(masks, saved, strict=True):
        np.testing.assert_array_equal(read(folder / "masks" / f"{name}.png"), (mask * 255).byte())
    assert f"{len(pictures)} now" in pack.text(output)
    assert output.ui["images"] == [{"filename": "sheet.jpg", "subfolder": "datasets/concepts", "type": "output"}]


def test_every_run_adds_pictures(pack: Pack, pictures: torch.Tensor, heatmaps: Any, folders: Path) -> None:
    for _ in range(2):
        pack.run("ConceptDatasetSave", image=pictures, heatmaps=heatmaps, format="coco", folder="a/b", concepts="house")
    listed = json.loads((folders / "output" / "a" / "b" / "annotations.json").read_text())
    assert len(listed["images"]) == 2 * len(pictures)
    assert [category["name"] for category in listed["categories"]] == ["house"]
    numbers = [annotation["id"] for annotation in listed["annotations"]]
    assert numbers == list(range(1, len(numbers) + 1))


def test_a_mask_is_saved_at_the_size_of_its_picture(pack: Pack, folders: Path) -> None:
    mask = torch.zeros(1, 4, 6)
    mask[:, :2] = 1
    pack.run("ConceptDatasetSave", image=torch.rand(2, 32, 48, 3), mask=mask, format="onetrainer", folder="one")
    folder = folders / "output" / "one" / "images"
    assert sorted(file.name for file in folder.iterdir()) == [
        "00000_000-masklabel.png",
        "00000_000.png",
        "00000_001-masklabel.png",
        "00000_001.png",
    ]
    written = read(folder / "00000_001-masklabel.png")
    assert written.shape == (32, 48) and (written[:12] == 255).all() and (written[20:] == 0).all()


def test_a_picture_without_the_concept_is_left_out_of_training(pack: Pack, folders: Path) -> None:
    image = torch.rand(1, 16, 16, 3)
    output = pack.run("ConceptDatasetSave", image=image, mask=torch.zeros(1, 16, 16), format="kohya", folder="none")
    assert "1 left out" in pack.text(output)
    assert not (folders / "output" / "none" / "images").exists()


def test_other_settings_need_another_folder(pack: Pack, folders: Path) -> None:
    inputs: dict[str, Any] = {"image": torch.rand(1, 16, 16, 3), "mask": torch.ones(1, 16, 16), "folder": "same"}
    pack.run("ConceptDatasetSave", format="kohya", **inputs)
    before = names(folders / "output" / "same")
    with pytest.raises(ValueError, match="made with other settings: format"):
        pack.run("ConceptDatasetSave", format="yolo", **inputs)
    assert names(folders / "output" / "same") == before


@pytest.mark.parametrize(
    ("inputs", "message"),
    [
        ({}, "neither is connected"),
        ({"mask": torch.ones(1, 16, 16), "folder": "../outside"}, "leads out of the output folder"),
        ({"mask": torch.ones(3, 16, 16)}, "2 image.* and 3 mask"),
        ({"mask": torch.ones(1, 16, 40)}, "different aspect ratio"),
    ],
)
def test_bad_input_is_refused(pack: Pack, folders: Path, inputs: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        pack.run("ConceptDatasetSave", image=torch.rand(2, 16, 16, 3), **inputs)
    assert names(folders / "output") == set()
