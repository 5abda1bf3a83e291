"""`concept-attention benchmark` end to end on the embedded model: drawn scenes in the formats of real data sets."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from concept_attention.cli import main
from concept_attention.evaluation.datasets.example import Example
from concept_attention.evaluation.datasets.export import write_folder, write_imagenet
from concept_attention.tiny.evaluation.dataset import Landscapes
from concept_attention.tiny.world.scenes import LABELS


def scenes(count: int) -> list[Example]:
    return [Landscapes(5, 64, count)[index] for index in range(count)]


def results(folder: Path) -> dict:
    return json.loads((folder / "results.json").read_text(encoding="utf-8"))


def test_a_folder_is_recorded_once_and_scored_again_without_the_model(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    data, out = tmp_path / "data", tmp_path / "out"
    write_folder(scenes(3), data, LABELS)
    command = ["benchmark", "folder", "--data", str(data), "--out", str(out), "--quiet"]
    assert main([*command, "--part", "2/2"]) == 0
    assert "Recorded 1 pictures" in capsys.readouterr().out
    files = list(out.rglob("*.safetensors"))
    assert len(files) == 1 and not (out / "results.json").exists()
    first = files[0].stat().st_mtime_ns
    assert main(command) == 0
    found = results(out)
    assert len(list(out.rglob("*.safetensors"))) == 3 and files[0].stat().st_mtime_ns == first
    row = found["rows"]["concept"]
    assert found["pictures"] == 3 and len(found["data_hash"]) == 16 and len(found["weights_hash"]) == 16
    assert row["accuracy"]["low"] <= row["accuracy"]["value"] <= row["accuracy"]["high"]
    assert row["accuracy"]["value"] > 0.5  # the model is taught; these scenes are smaller than those it knows
    assert (out / "per_image.csv").read_text().count("\n") == 4
    assert "accuracy" in capsys.readouterr().out

    monkeypatch.setattr("concept_attention.cli.benchmark.analyze", None)  # would fail if it were called
    assert main([*command, "--stage", "score", "--temperature", "5"]) == 0
    assert results(out)["rows"]["concept"] != row


def test_the_papers_protocol_runs_on_the_format_of_its_data(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("h5py")
    chosen, words = [], {}
    for number, scene in enumerate(scenes(2)):
        label = max(scene.words, key=lambda one, labels=scene.labels: int((labels == one).sum()))
        labels = (scene.labels == label).astype(np.uint8)
        chosen.append(Example(f"n0000000{number}_1", scene.image, labels, {1: LABELS[label]}))
        words[f"n0000000{number}"] = LABELS[label]
    write_imagenet(chosen, tmp_path)
    names = tmp_path / "names.json"
    names.write_text(json.dumps(words))
    command = ["benchmark", "imagenet-seg", "--data", str(tmp_path), "--names", str(names), "--protocol", "paper"]
    options = ["--background", "sky", "grass", "tree", "--samples", "2", "--out", str(tmp_path / "out"), "--quiet"]
    assert main([*command, *options]) == 0
    row = results(tmp_path / "out")["rows"]["concept"]
    accuracy = row["accuracy"]["value"]
    assert row["paper_iou"]["value"] == pytest.approx(accuracy / (2 - accuracy))
    assert set(results(tmp_path / "out")["by_word"]) == set(words.values())
    assert "83.07" in capsys.readouterr().out  # the paper's row


def test_a_sweep_has_a_row_and_a_point_for_each_value(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_folder(scenes(1), tmp_path / "data", LABELS)
    command = ["benchmark", "folder", "--data", str(tmp_path / "data"), "--out", str(tmp_path / "out"), "--quiet"]
    assert main([*command, "--sweep", "attends"]) == 0
    rows = results(tmp_path / "out")["rows"]
    assert list(rows) == ["both", "image", "concepts", "itself"]
    assert rows["both"] != rows["image"] and rows["concepts"] != rows["itself"]
    with Image.open(tmp_path / "out" / "sweep_attends.png") as figure:
        assert figure.width > 800
    capsys.readouterr()
    assert main([*command, "--sweep", "layers"]) == 0
    assert list(results(tmp_path / "out")["rows"]) == ["auto", "all", "0", "1", "2", "3"]
    assert main([*command, "--sweep", "space"]) == 0
    assert list(results(tmp_path / "out")["rows"]) == ["concept", "value", "cross"]


def test_baselines_without_a_model_are_in_every_table(tmp_path: Path) -> None:
    write_folder(scenes(2), tmp_path / "data", LABELS)
    for method in ("uniform", "centre"):
        command = ["benchmark", "folder", "--data", str(tmp_path / "data"), "--out", str(tmp_path / method), "--quiet"]
        assert main([*command, "--method", method]) == 0
        assert not list((tmp_path / method).rglob("*.safetensors"))
        assert results(tmp_path / method)["rows"][method]["absence_mean"]["value"] is not None


def test_errors_say_what_is_missing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = ["--out", str(tmp_path / "out"), "--quiet"]
    for arguments, text in (
        (["voc", *out], "Give its folder with --data"),
        (["voc", "--data", str(tmp_path), *out], "expected VOCdevkit/VOC2012/"),
        (["folder", "--data", str(tmp_path), "--part", "3/2", *out], "must be I/N"),
    ):
        assert main(["benchmark", *arguments]) == 2
        assert text in capsys.readouterr().err


def test_scenes_in_another_style_are_measured_with_their_thin_parts_and_mirrored(tmp_path: Path) -> None:
    command = ["benchmark", "crayon", "--limit", "2", "--choice", "1", "--noise", "0.3", "--quiet"]
    assert main([*command, "--sweep", "flip", "--out", str(tmp_path)]) == 0
    rows = results(tmp_path)["rows"]
    assert rows["picture"] != rows["mirrored, too"]
    assert 0 < rows["picture"]["thin_iou"]["value"] < 1 and rows["picture"]["accuracy"]["value"] > 0.6


def test_a_video_model_looks_at_pictures_as_videos_of_one_frame(tmp_path: Path) -> None:
    command = ["benchmark", "landscapes", "--limit", "1", "--model", "tiny-cogvideox", "--refine", "guided", "--quiet"]
    assert main([*command, "--noise", "0.3", "--out", str(tmp_path)]) == 0
    assert results(tmp_path)["rows"]["concept"]["accuracy"]["value"] > 0.5


def test_recordings_of_an_embedded_model_are_of_its_weights(tmp_path: Path) -> None:
    """Also where its maps are not taught."""
    command = ["benchmark", "landscapes", "--limit", "1", "--model", "tiny-sd", "--sweep", "mode", "--quiet"]
    assert main([*command, "--out", str(tmp_path)]) == 0
    found = results(tmp_path)
    assert list(found["rows"]) == ["cross", "gram"] and len(found["weights_hash"]) == 16
