"""The benchmark of all architectures at a toy size: it runs, reports and judges; its ratios mean nothing there."""

from __future__ import annotations

import importlib
import json
from pathlib import Path
from typing import Any

import pytest
import torch

from ..support.comfyui.boot import HostMissing, boot, load_script

ROOT = Path(__file__).resolve().parents[2]
TOY = ["--tokens=96", "--text=4", "--concepts=3", "--steps=2", "--pairs=2"]


@pytest.fixture
def benchmark(monkeypatch: pytest.MonkeyPatch) -> Any:
    """The benchmark inside a ComfyUI."""
    try:
        host = boot()
    except HostMissing as missing:
        pytest.skip(str(missing))
    monkeypatch.syspath_prepend(str(ROOT))
    load_script("dev_comfyui").import_library(
        host.root, ["--cpu"]
    )  # its folder before this project's, as `main` has it
    return importlib.import_module("benchmarks.architectures")


def test_ratios_and_sizes_are_printed_and_written(
    benchmark: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "report.json"
    assert benchmark.main([*TOY, "--only=lumina image", f"--json={file}"]) == 0
    report, printed = json.loads(file.read_text()), capsys.readouterr().out
    ((name, measured),) = report["rows"].items()
    assert (name, measured["tokens"], measured["differing"]) == ("Lumina Image 2.0", 96, 0)
    assert measured["kept"] == 2 * 3 * 3 * (96 + 1) * 4  # steps x layers x concepts x (tokens and a norm), float32
    assert len(measured["seconds"]["plain"]) == len(measured["seconds"]["ours"]) == 2
    assert f"{measured['ratio']['median']:.3f}" in printed and name in printed


@pytest.mark.parametrize("name", ["Stable Diffusion 3.5 medium", "CogVideoX 2B"])
def test_tables_of_positions_grow_with_the_image(benchmark: Any, name: str) -> None:
    runs = importlib.import_module("benchmarks.architectures_runs")
    (row,) = runs.rows_named(name) or [None]
    if row is None:
        pytest.skip(f"this ComfyUI has no {name}")
    model = runs.LargeRow(row, 500, 4, 3, 1)
    model.plain()
    model.ours()
    assert model.tokens > 400 and model.differing == 0


def test_the_latents_of_all_runs_are_compared(benchmark: Any) -> None:
    runs = importlib.import_module("benchmarks.architectures_runs")
    model = runs.LargeRow(runs.rows_named("Lumina Image")[0], 24, 4, 3, 1)
    model.plain()
    model._compare({"samples": torch.full((1, 16, 12, 8), float("nan"))})
    assert model.differing == 16 * 12 * 8


@pytest.mark.parametrize(("bar", "code"), [(1e-6, 1), (1e6, 0)])
def test_check_fails_when_the_bar_is_missed(
    benchmark: Any, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], bar: float, code: int
) -> None:
    monkeypatch.setattr(benchmark, "BAR", bar)
    assert benchmark.main([*TOY, "--only=lumina image", "--check"]) == code
    assert ("MISSED by Lumina Image 2.0" in capsys.readouterr().out) == bool(code)


def test_other_latents_miss_the_bar(benchmark: Any) -> None:
    measured = {"ratio": {"median": 1.0, "least": 1.0, "most": 1.0}, "tokens": 96, "kept": 0, "differing": 3}
    assert not benchmark.met(measured) and "DIFFER in 3 values" in benchmark.line("a model", measured)


@pytest.mark.parametrize(
    ("option", "reason"),
    [
        ("--tokens=0", "at least one of tokens"),
        ("--pairs=0", "at least one of pairs"),
        ("--json=missing/report.json", "no folder missing"),
    ],
)
def test_bad_options_are_refused(benchmark: Any, capsys: pytest.CaptureFixture[str], option: str, reason: str) -> None:
    with pytest.raises(SystemExit, match="2"):
        benchmark.main([option])
    assert reason in capsys.readouterr().err


def test_a_name_that_no_architecture_has_is_refused(benchmark: Any, capsys: pytest.CaptureFixture[str]) -> None:
    assert benchmark.main(["--only=nothing of the kind"]) == 2
    assert "no architecture with 'nothing of the kind'" in capsys.readouterr().err
