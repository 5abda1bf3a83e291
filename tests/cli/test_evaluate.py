"""`evaluate`: the table and the JSON file hold what the measurement found."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest

from concept_attention.tiny.evaluation.landscapes import evaluate_landscapes
from concept_attention.tiny.world.scenes import LABELS

SMALL = ["evaluate", "--count", 2, "--width", 64, "--height", 80, "--quiet"]


def test_the_file_holds_the_figures_and_the_settings(run: Any, random_pipeline: Any) -> None:
    said = run(*SMALL, "--seed", -7, "--layers", "1,3", "--noise", 0.6, "--samples", 2, "--prompt", "caption",
               "--mode", "sd3", "--json", "deep/figures.json")  # fmt: skip
    assert said.code == 0 and said.err == ""
    figures = json.loads(Path("deep/figures.json").read_text(encoding="utf-8"))
    expected = evaluate_landscapes(
        random_pipeline, 2, -7, noise=0.6, samples=2, prompt="caption", layers="1,3", mode="sd3", width=64, height=80
    )
    for name in ("pixel_accuracy", "mean_iou", "average_precision", "absent_rate"):
        assert figures[name] == getattr(expected, name)
        assert f"{figures[name]:.3f}" in said.out
    by_class = {label: None if math.isnan(iou) else iou for label, iou in expected.per_class_iou.items()}
    assert figures["per_class_iou"] == by_class and list(by_class) == list(LABELS)
    assert (figures["dataset"], figures["count"], figures["seed"], figures["model"]) == ("landscapes", 2, -7, "tiny")
    assert (figures["layers"], figures["mode"], figures["noise"], figures["samples"]) == ([1, 3], "sd3", 0.6, 2)
    assert (figures["prompt"], figures["width"], figures["height"]) == ("caption", 64, 80)
    assert figures["seconds"] > 0 and "torch" in figures["versions"]


def test_the_table_names_every_class_and_the_settings(run: Any) -> None:
    said = run(*SMALL)
    assert all(label in said.out for label in LABELS)
    assert "landscapes: 2 scenes (seed 0) of 64 x 80 pixels" in said.out and "no prompt" in said.out
    assert "layers 2, 3; mode flux; 1 noise sample at sigma 0.3" in said.out


@pytest.mark.parametrize("tiny", [False, True])
def test_only_of_the_landscape_model_it_says_that_its_maps_are_taught(run: Any, monkeypatch: Any, tiny: bool) -> None:
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
        (["--count", 100_001], "up to 100000"),
        (["--layers", "9"], "Layer 9 does not exist"),
        (["--width", 48], "from 64 on, got 48"),
        (["--temperature", 0], "Temperature must lie in"),
        (["--json", "taken"], "taken is a folder"),
        (["--json", "file/figures.json"], "file is a file"),
    ],
)
def test_what_cannot_be_measured_is_one_line(run: Any, tmp_path: Path, options: list[Any], expected: str) -> None:
    (tmp_path / "taken").mkdir()
    (tmp_path / "file").write_text("a file")
    said = run(*SMALL, *(["--json", "new/figures.json"] if "--json" not in options else []), *options)
    assert said.code == 2 and said.out == "" and said.err.count("\n") == 1 and expected in said.err
    assert {path.name for path in tmp_path.iterdir()} == {"taken", "file"} and not any((tmp_path / "taken").iterdir())


def test_ctrl_c_leaves_no_file(run: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(*_: Any, **__: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("concept_attention.tiny.evaluation.landscapes.analyze", interrupted)
    assert run(*SMALL, "--json", "new/figures.json").code == 130 and not list(tmp_path.iterdir())
