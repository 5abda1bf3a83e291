"""The preview's benchmark at a toy size: it runs, reports and judges; its numbers mean nothing at this size."""

from __future__ import annotations

import importlib
import json
from pathlib import Path
from typing import Any

import pytest

from ..support.comfyui.boot import HostMissing, boot

ROOT = Path(__file__).resolve().parents[2]
TOY = [
    *("--width=128", "--blocks=2", "--singles=1", "--pixels=64", "--text=4"),
    *("--concepts=3", "--steps=3", "--pairs=1"),
]


@pytest.fixture
def hosted(monkeypatch: pytest.MonkeyPatch) -> Any:
    """The benchmark inside a ComfyUI."""
    monkeypatch.syspath_prepend(str(ROOT))
    benchmark = importlib.import_module("benchmarks.comfyui_preview")
    try:
        host = boot()
    except HostMissing as missing:
        pytest.skip(str(missing))
    benchmark.import_library(host.root, ["--cpu"])
    return benchmark


@pytest.mark.parametrize(("bar", "code"), [(-1e6, 1), (1e6, 0)])
def test_ratios_are_printed_written_and_judged(
    hosted: Any,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    bar: float,
    code: int,
) -> None:
    monkeypatch.setattr(hosted, "BAR", bar)
    assert hosted.main([*TOY, "--check", f"--json={tmp_path / 'report.json'}"]) == code
    report, printed = json.loads((tmp_path / "report.json").read_text()), capsys.readouterr().out
    assert report["differing"] == 0 and "differ in 0 values" in printed
    for row in report["previews"].values():
        assert 0 < row["with"] < row["step"] and row["ratio"] == (row["with"] - row["without"]) / row["step"]
        assert f"{100 * row['ratio']:.3f} % of a step" in printed
    assert ("MISSED" in printed) == bool(code)


def test_every_step_is_timed_and_a_changed_latent_is_seen(hosted: Any) -> None:
    _, sizes, _ = hosted.parse(TOY)
    with hosted.torch.inference_mode():
        model = hosted.make(sizes)
        seconds, spent = hosted.sampled(model, "latent2rgb", "concept 2")
        assert len(spent) == 3 and sum(spent) < seconds
        model.compare(hosted.torch.zeros(1, 16, 8, 8))
    assert model.differing
