"""`heatmaps`: results from a recording, without a model."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from concept_attention.embedded import TAUGHT
from concept_attention.recording.file import load_recording, save_recording

ROOT = Path(__file__).parents[2]


def same(one: Path, two: Path) -> bool:
    return np.array_equal(np.asarray(Image.open(one)), np.asarray(Image.open(two)))


def test_the_same_options_give_the_same_files(run: Any, generated: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("concept_attention.cli.model.load_pipeline", lambda *_: 1 / 0)
    output = run("heatmaps", generated / "recording.safetensors", "--out", "again", "--json")
    assert output.code == 0, output.err
    assert {path.name for path in Path("again").iterdir()} == {path.name for path in generated.iterdir()}
    for path in generated.glob("*.png"):
        assert same(path, Path("again") / path.name)
    one, two = (load_recording(folder / "recording.safetensors") for folder in (generated, Path("again")))
    assert torch.equal(one.scores, two.scores)
    summary = output.json
    assert (summary["command"], summary["prompt"], summary["seed"]) == ("heatmaps", "a red house on grass", "5")


def test_a_closed_pipe_is_no_error(generated: Path) -> None:
    reading, writing = os.pipe()
    os.close(reading)
    command = [sys.executable, "-m", "concept_attention", "heatmaps", str(generated / "recording.safetensors")]
    done = subprocess.run(
        [*command, "--out", str(generated)], cwd=ROOT, stdout=writing, stderr=subprocess.PIPE, text=True, check=False
    )
    os.close(writing)
    assert (done.returncode, done.stderr) == (0, "")


def test_other_options_give_other_heatmaps_in_the_same_folder(run: Any, generated: Path) -> None:
    shutil.copytree(generated, "before")
    recording = (generated / "recording.safetensors").read_bytes()
    output = run("heatmaps", generated / "recording.safetensors", "--out", generated, "--layers", "0", "--mode", "sd3",
               "--heatmap-steps", "1-2", "--mask", "percentile", "--json")  # fmt: skip
    assert (output.json["layers"], output.json["steps"], output.json["mode"]) == ([0], [1, 2], "sd3")
    assert same(generated / "image.png", Path("before/image.png"))
    assert not same(generated / "heatmap_house.png", Path("before/heatmap_house.png"))
    assert (generated / "recording.safetensors").read_bytes() == recording


@pytest.mark.parametrize(
    "options, expected",
    [
        (["--layers", "7"], "Layer 7 does not exist"),
        (["--heatmap-steps", "5"], "Step 5 does not exist"),
        (["--mode", "paper"], "Record again with mode=paper"),
        (["--image", "none.png"], "There is no image none.png"),
        (["--image", "other.png"], "other.png is 64 x 64 pixels, but the recorded image is 96 x 64."),
    ],
)
def test_what_the_recording_does_not_hold_is_a_one_line_error(
    run: Any, generated: Path, options: list[str], expected: str
) -> None:
    Image.new("RGB", (64, 64)).save("other.png")
    output = run("heatmaps", generated / "recording.safetensors", "--out", "out", *options)
    assert output.code == 2 and output.err.startswith("error: ")
    assert output.err.count("\n") == 1 and expected in output.err
    assert not Path("out").exists()


def test_an_unreadable_recording_is_a_one_line_error(run: Any, generated: Path) -> None:
    whole = (generated / "recording.safetensors").read_bytes()
    Path("cut.safetensors").write_bytes(whole[:-100])
    Path("empty.safetensors").write_bytes(b"")
    Path("foreign.safetensors").write_bytes(b"PK\x03\x04" + bytes(100))
    for path in ("cut.safetensors", "empty.safetensors", "foreign.safetensors", "none.safetensors"):
        output = run("heatmaps", path, "--image", generated / "image.png", "--out", "out")
        assert output.code == 2 and output.out == "" and not Path("out").exists()
        assert output.err.startswith(f"error: {path}") and output.err.count("\n") == 1


def test_the_folder_of_a_run_stands_for_its_recording(run: Any, generated: Path) -> None:
    by_file = run("heatmaps", generated / "recording.safetensors", "--out", "one", "--json")
    by_folder = run("heatmaps", generated, "--out", "two", "--json")
    assert by_folder.code == 0, by_folder.err
    assert by_folder.json["recording"] == str(generated / "recording.safetensors")
    assert by_folder.json["concepts"] == by_file.json["concepts"]
    assert all(same(path, Path("two") / path.name) for path in Path("one").glob("*.png"))
    again = run("heatmaps", generated, "--out", generated, "--layers", "0")
    assert again.code == 0 and again.out.startswith(f"Read {generated / 'recording.safetensors'}.")


def test_a_folder_without_a_recording_is_a_one_line_error(run: Any) -> None:
    Path("empty").mkdir()
    output = run("heatmaps", "empty", "--out", "out")
    assert (output.code, output.out) == (2, "") and not Path("out").exists()
    assert output.err == (
        "error: empty has no recording.safetensors. Give a recording, or a folder that `generate` or `analyze` has "
        "written.\n"
    )


@pytest.mark.parametrize("model", ["tiny", "tiny-sd3", "tiny-cogvideox", "flux-dev", None])
def test_maps_of_an_embedded_model_are_said_to_be_taught(run: Any, generated: Path, model: str | None) -> None:
    recording = load_recording(generated / "recording.safetensors")
    metadata = {name: value for name, value in recording.metadata.items() if name != "model"}
    if model is not None:
        metadata["model"] = model
    save_recording(replace(recording, metadata=metadata), generated / "recording.safetensors")
    output = run("heatmaps", generated, "--out", "out")
    embedded = bool(model and model.startswith("tiny"))
    assert json.loads(Path("out/summary.json").read_text())["note"] == (TAUGHT if embedded else "")
    assert " ".join(output.out.split()).endswith(TAUGHT) == embedded


def test_a_recording_of_several_images_is_refused(run: Any, generated: Path) -> None:
    recording = load_recording(generated / "recording.safetensors")
    tensors = {name: getattr(recording, name).repeat_interleave(2, dim=2) for name in ("scores", "norms", "presence")}
    both = replace(recording, **tensors)
    save_recording(both, generated / "both.safetensors")
    output = run("heatmaps", generated / "both.safetensors", "--out", "out")
    assert output.code == 2 and "2 images, expected 1" in output.err and not Path("out").exists()
