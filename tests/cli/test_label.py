"""`concept-attention label`: from the command line to files, and what it prints."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from concept_attention.cli.arguments import parse_arguments
from concept_attention.cli.label import progress_line
from concept_attention.errors import UserError
from concept_attention.labelling.run import Progress
from tests.support.labelling import draw_pictures, tree

from .conftest import Run

CONCEPTS = ["--concepts", "house", "tree", "--background", "sky", "--width", "64", "--height", "64", "--devices", "cpu"]


@pytest.fixture
def label(run: Run, random_pipeline: Any, monkeypatch: pytest.MonkeyPatch) -> Run:
    """Run `label` with the random model."""
    monkeypatch.setattr("concept_attention.labelling.labeller.load_pipeline", lambda *_, **__: random_pipeline)
    return lambda *arguments: run("label", *arguments)


def test_a_folder_becomes_masks_and_can_be_verified(label: Run, tmp_path: Path) -> None:
    draw_pictures(tmp_path / "photos", 5)
    first = label("photos", *CONCEPTS, "--out", "out", "--shard-size", 2)
    assert (first.code, first.err) == (0, "")
    assert "5 pictures labelled in out" in first.out and "sheet.jpg before you train" in first.out
    assert np.asarray(Image.open(tmp_path / "out" / "masks" / "tree" / "01.png")).shape == (32, 48)
    assert label("--verify", "out").code == 0
    (tmp_path / "out" / "masks" / "tree" / "01.png").unlink()
    broken = label("--verify", "out")
    assert broken.code == 1 and "1 missing: masks/tree/01.png" in broken.out
    assert json.loads(label("--verify", "out", "--json").out)["missing"] == ["masks/tree/01.png"]


def test_a_picture_that_cannot_be_read_is_told_by_the_exit_code(label: Run, tmp_path: Path) -> None:
    draw_pictures(tmp_path / "photos", 2)
    (tmp_path / "photos" / "bad.png").write_bytes(b"")
    found = label("photos", *CONCEPTS, "--out", "out")
    assert found.code == 1
    assert "2 pictures labelled" in found.out and "bad.png: Cannot read bad.png: the file is empty" in found.out


def test_progress_and_result_are_lines_of_json(label: Run, tmp_path: Path) -> None:
    draw_pictures(tmp_path / "photos", 3)
    lines = [json.loads(line) for line in label("photos", *CONCEPTS, "--out", "out", "--json").out.splitlines()]
    assert lines[-2]["done"] == lines[-2]["total"] == 3 and lines[-2]["seconds_left"] == 0
    assert lines[-1]["pictures"] == 3 and lines[-1]["complete"] and lines[-1]["errors"] == []


def test_pictures_are_made_from_prompts_and_parts_make_the_whole(label: Run, tmp_path: Path) -> None:
    (tmp_path / "prompts.txt").write_text("a red house\na tree\na house\n", encoding="utf-8")
    made = ["--generate", "prompts.txt", *CONCEPTS, "--steps", 1, "--shard-size", 1, "--format", "yolo"]
    assert label(*made, "--out", "whole").code == 0
    assert "not there yet" in label(*made, "--out", "parts", "--part", "2/2").out
    assert label(*made, "--out", "parts", "--part", "1/2").code == 0
    whole, parts = tree(tmp_path / "whole"), tree(tmp_path / "parts")
    assert whole.keys() == parts.keys() and "images/000002.png" in whole
    assert {name for name in whole if whole[name] != parts[name]} == {"data.yaml"}  # it names its folder


def test_other_settings_need_another_folder(label: Run, tmp_path: Path) -> None:
    draw_pictures(tmp_path / "photos", 1)
    assert label("photos", *CONCEPTS, "--out", "out").code == 0
    again = label("photos", *CONCEPTS, "--out", "out", "--noise", 0.2, "--mask", "soft")
    assert again.code == 2
    assert "made with other settings: noise, mask." in again.err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--concepts", "a", "b", "--out", "out"], "Give a data set"),
        (["photos", "--out", "out"], "There are no concepts"),
        (["photos", "--concepts", "a", "b"], "There is no folder for the labels"),
        (["photos", "--concepts", "a", "--out", "out"], "nothing to be compared with"),
        (["gone", "--concepts", "a", "b", "--out", "out"], "There is no gone"),
        (["--verify", "gone"], "no manifest.jsonl"),
    ],
)
def test_what_cannot_be_done_is_said_in_one_line(label: Run, tmp_path: Path, arguments: Any, message: str) -> None:
    draw_pictures(tmp_path / "photos", 1)
    found = label(*arguments)
    assert found.code == 2 and message in found.err and found.err.count("\n") == 1
    assert not (tmp_path / "out").exists()


def test_parts_are_written_as_one_of_many() -> None:
    arguments = ["label", "photos", "--concepts", "a", "b", "--out", "out", "--part"]
    assert parse_arguments([*arguments, "2/8"]).part == (2, 8)
    for wrong in ("8/2", "0/2", "2", "a/b"):
        with pytest.raises(UserError, match="must be I/N"):
            parse_arguments([*arguments, wrong])


def test_time_left_is_written_as_a_clock() -> None:
    assert progress_line(Progress(10, None, 0, 3, 5.0)) == "Labelling: 10 pictures, 2.0 a second"
    assert progress_line(Progress(10, 40_000, 0, 3, 5.0)).endswith("10 of 40,000 pictures, 2.0 a second, 5:33:15 left")
