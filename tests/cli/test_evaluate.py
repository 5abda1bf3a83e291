"""`evaluate`: the table and the JSON file hold the measured metrics."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest

from concept_attention.tiny.evaluation.landscapes import evaluate_landscapes
from concept_attention.tiny.world.scenes import LABELS

SMALL = ["evaluate", "--count", 2, "--width", 64, "--height", 80, "--quiet"]


def test_the_file_holds_the_metrics_and_the_settings(run: Any, random_pipeline: Any) -> None:
    output = run(*SMALL, "--seed", -7, "--layers", "1,3", "--noise", 0.6, "--samples", 2, "--prompt", "caption",
               "--mode", "sd3", "--json", "deep/figures.json")  # fmt: skip
    assert output.code == 0 and output.err == ""
    report = json.loads(Path("deep/figures.json").read_text(encoding="utf-8"))
    expected = evaluate_landscapes(
        random_pipeline, 2, -7, noise=0.6, samples=2, prompt="caption", layers="1,3", mode="sd3", width=64, height=80
    )
    for name in ("pixel_accuracy", "mean_iou", "average_precision", "absent_rate"):
        assert report[name] == getattr(expected, name)
        assert f"{report[name]:.3f}" in output.out
    by_class = {label: None if math.isnan(iou) else iou for label, iou in expected.per_class_iou.items()}
    assert report["per_class_iou"] == by_class and list(by_class) == list(LABELS)
    assert (report["dataset"], report["count"], report["seed"], report["model"]) == ("landscapes", 2, -7, "tiny")
    assert (report["layers"], report["mode"], report["noise"], report["samples"]) == ([1, 3], "sd3", 0.6, 2)
    assert (report["prompt"], report["width"], report["height"]) == ("caption", 64, 80)
    assert report["seconds"] > 0 and "torch" in report["versions"]


def test_the_table_names_every_class_and_the_settings(run: Any) -> None:
    output = run(*SMALL)
    assert all(label in output.out for label in LABELS)
    assert "landscapes: 2 scenes (seed 0) of 64 x 80 pixels" in output.out and "no prompt" in output.out
    assert "layers 2, 3; mode flux; 1 noise sample at sigma 0.3" in output.out


@pytest.mark.parametrize("tiny", [False, True])
def test_the_note_on_taught_maps_is_for_the_landscape_models_only(run: Any, monkeypatch: Any, tiny: bool) -> None:
    monkeypatch.setattr("concept_attention.cli.model.is_tiny", lambda _: tiny)
    assert ("concept maps are taught" in run(*SMALL).out) == tiny


def test_a_bar_shows_progress_on_a_terminal_unless_quiet(run: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stderr.isatty", lambda: True, raising=False)
    assert run(*SMALL).err == ""
    shown = run(*SMALL[:-1]).err
    assert shown.startswith("Loading tiny\n") and "Evaluating: " in shown and "0/2" in shown


@pytest.mark.parametrize(
    "options, expected",
    [
        (["--count", 100_001], "--count must be at most 100000, got 100001."),
        (["--layers", "9"], "Layer 9 does not exist"),
        (["--width", 48], "at least 64, got 48"),
        (["--temperature", 0], "Temperature must lie in"),
        (["--json", "taken"], "taken is a folder"),
        (["--json", "file/report.json"], "file is a file"),
    ],
)
def test_what_cannot_be_measured_is_a_one_line_error(
    run: Any, tmp_path: Path, options: list[Any], expected: str
) -> None:
    (tmp_path / "taken").mkdir()
    (tmp_path / "file").write_text("a file")
    output = run(*SMALL, *(["--json", "new/report.json"] if "--json" not in options else []), *options)
    assert output.code == 2 and output.out == "" and output.err.count("\n") == 1 and expected in output.err
    assert {path.name for path in tmp_path.iterdir()} == {"taken", "file"} and not any((tmp_path / "taken").iterdir())


def test_ctrl_c_leaves_no_file(run: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(*_: Any, **__: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("concept_attention.tiny.evaluation.landscapes.analyze", interrupted)
    assert run(*SMALL, "--json", "new/report.json").code == 130 and not list(tmp_path.iterdir())
