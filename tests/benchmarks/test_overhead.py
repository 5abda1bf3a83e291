"""The overhead benchmark at a toy size: it runs, reports and judges; its numbers mean nothing at this size."""

from __future__ import annotations

import importlib
import json
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("diffusers")

ROOT = Path(__file__).resolve().parents[2]
TOY = ["--width=128", "--blocks=2", "--singles=1", "--tokens=12", "--text=4", "--concepts=3", "--pairs=2"]


@pytest.fixture
def overhead(monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.syspath_prepend(str(ROOT))
    return importlib.import_module("benchmarks.overhead")


@pytest.fixture
def quick(overhead: Any, monkeypatch: pytest.MonkeyPatch) -> Any:
    """The benchmark without child processes, which would import everything again."""
    monkeypatch.setattr(
        overhead, "child_memory", lambda settings, way: overhead.peak_memory(overhead.RandomFlux(settings), way)
    )
    return overhead


def test_ratios_are_printed_and_written(quick: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert quick.main([*TOY, f"--json={tmp_path / 'report.json'}"]) == 0
    report = json.loads((tmp_path / "report.json").read_text())
    printed = capsys.readouterr().out
    for way in quick.WAYS:
        assert len(report["seconds"][way]) == 2
        assert f"{report['ratios'][way]['median']:.3f}" in printed
    assert report["ratios"]["plain"] == {"median": 1, "least": 1, "most": 1}
    assert set(report["analyze"]) == {"1", "2"}
    assert set(report["bars"]) == {"time", "memory", "analyze"}


def test_both_ways_find_the_same_scores(overhead: Any) -> None:
    _, settings = overhead.parse(TOY)
    with overhead.torch.no_grad():
        model = overhead.RandomFlux(settings)
        ours, authors = model.ours(), model.authors()
        assert overhead.score_difference(model) < 1e-5
    assert ours.grid == (1, 3, 4)
    assert ours.scores.std(dim=-1).min() > 0
    assert ours.nbytes < authors.nbytes == 2 * (12 + 3) * 128 * 4  # 2 blocks of image and concept vectors


def test_memory_is_measured_in_a_process_of_its_own(overhead: Any) -> None:
    _, settings = overhead.parse(TOY)
    memory = overhead.child_memory(settings, "ours")
    assert memory["peak"] > 100 * overhead.MIB  # at least torch itself
    assert memory["kept"] == 2 * 3 * (12 + 1) * 4  # 2 blocks x 3 concepts x (12 tokens and a norm), float32


@pytest.mark.parametrize(("bar", "code"), [(1e-6, 1), (1e6, 0)])
def test_check_fails_when_a_bar_is_missed(
    quick: Any, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], bar: float, code: int
) -> None:
    monkeypatch.setattr(quick, "BARS", {"time": bar, "memory": 1e6, "analyze": 1e6})
    assert quick.main([*TOY, "--check"]) == code
    assert ("MISSED time" in capsys.readouterr().out) == bool(code)


def test_rounds_take_turns(overhead: Any) -> None:
    calls: list[str] = []
    seconds = overhead.rounds({name: lambda name=name: calls.append(name) for name in "abc"}, 3, "cpu")
    assert "".join(calls) == "abc" + "abc" + "cba" + "abc"
    assert {name: len(each) for name, each in seconds.items()} == {"a": 3, "b": 3, "c": 3}


def test_a_ratio_is_the_median_of_the_rounds(overhead: Any) -> None:
    assert overhead.ratios([1, 2, 4], [2, 2, 12]) == {"median": 2, "least": 1, "most": 3}


@pytest.mark.parametrize(
    ("option", "reason"),
    [
        ("--width=200", "multiple of 128"),
        ("--tokens=0", "at least one of tokens"),
        ("--pairs=0", "at least one round"),
        ("--json=missing/report.json", "no folder missing"),
    ],
)
def test_bad_options_are_refused(overhead: Any, capsys: pytest.CaptureFixture[str], option: str, reason: str) -> None:
    with pytest.raises(SystemExit, match="2"):
        overhead.main([option])
    assert reason in capsys.readouterr().err
