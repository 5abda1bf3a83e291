"""`check`: the table and the JSON file hold what was measured; a changed latent is a failure."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from concept_attention.embedded import EMBEDDED
from concept_attention.hosts.comfyui import library
from concept_attention.hosts.diffusers import load_pipeline
from concept_attention.tiny.check.in_diffusers import InDiffusers

SMALL = ["check", "--scenes", 2, "--rounds", 1, "--quiet"]
TINY = [*SMALL, "--width", 64, "--height", 80]


def test_the_file_holds_the_figures_and_the_settings(run: Any) -> None:
    output = run(*TINY, "--seed", -7, "--noise", 0.6, "--json", "deep/check.json")
    assert output.code == 0 and output.err == ""
    report = json.loads(Path("deep/check.json").read_text(encoding="utf-8"))
    assert (report["model"], report["scenes"], report["seed"], report["noise"]) == ("tiny", 2, -7, 0.6)
    assert (report["width"], report["height"], report["reading"], report["mode"]) == (64, 80, "concept", "flux")
    assert report["bit_identical"] is True and report["time_ratio"] > 0
    for name in ("pixel_accuracy", "mean_iou", "absent_rate", "absence_auroc"):
        assert f"{report[name]:.3f}" in output.out
    assert "tiny: 2 drawn scenes of 64 x 80 pixels, noise 0.6" in output.out and "bit-identical" in output.out


def test_a_latent_that_recording_changes_is_exit_code_1(run: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    original = InDiffusers.sample
    monkeypatch.setattr(InDiffusers, "sample", lambda self, recorded: original(self, recorded) + 1e-6 * recorded)
    output = run(*TINY)
    assert output.code == 1 and "DIFFERS" in output.out


@pytest.mark.parametrize("name", EMBEDDED)
def test_every_embedded_model_can_be_checked(name: str, run: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    pipeline = load_pipeline(name, device="cpu")
    monkeypatch.setattr("concept_attention.cli.model.load_pipeline", lambda *_, **__: pipeline)
    output = run(*SMALL, "--model", name, "--json", "check.json")
    report = json.loads(Path("check.json").read_text(encoding="utf-8"))
    assert output.code == 0 and report["bit_identical"] is True
    assert report["mean_iou"] > 0.6 and report["absence_auroc"] > 0.9
    assert "concept maps are taught" in " ".join(output.out.split()) and report["note"]


@pytest.mark.parametrize(("mode", "iou"), [("auto", 0.1), ("gram", 0.1)])
def test_a_model_that_nobody_taught_is_checked(
    mode: str, iou: float, run: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    pipeline = load_pipeline("tiny-sd", device="cpu")
    monkeypatch.setattr("concept_attention.cli.model.load_pipeline", lambda *_, **__: pipeline)
    output = run(*SMALL, "--model", "tiny-sd", "--mode", mode, "--json", "check.json")
    report = json.loads(Path("check.json").read_text(encoding="utf-8"))
    assert output.code == 0 and report["bit_identical"] is True and report["note"] == ""
    assert report["reading"] == ("cross" if mode == "auto" else mode) and report["mean_iou"] > iou


@pytest.mark.parametrize(
    "options, expected",
    [
        (["--scenes", 100_001], "--scenes must be at most 100000, got 100001."),
        (["--json", "."], "is a folder, expected a file for --json"),
        (["--rounds", 0], "must be an integer >= 1"),
    ],
)
def test_arguments_that_cannot_be_used_are_refused(run: Any, options: list[Any], expected: str) -> None:
    output = run(*TINY, *options)
    assert output.code == 2 and expected in output.err


def test_a_folder_that_is_no_comfyui_is_refused(run: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(library, "_loaded", lambda: False)
    output = run(*SMALL, "--model", "tiny-sd", "--comfyui", tmp_path)
    assert output.code == 2 and "is no ComfyUI folder. Name it with --comfyui DIR." in output.err
