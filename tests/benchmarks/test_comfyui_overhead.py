"""The ComfyUI benchmark at a toy size: it runs, reports and judges; its numbers mean nothing at this size."""

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
    *("--concepts=3", "--steps=4", "--pairs=2"),
]
KEPT = 2 * 3 * (16 + 1) * 4  # bytes per step: 2 blocks x 3 concepts x (16 tokens and a norm), float32


@pytest.fixture
def overhead(monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.syspath_prepend(str(ROOT))
    return importlib.import_module("benchmarks.comfyui_overhead")


@pytest.fixture
def found(overhead: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Any:
    """The benchmark beside a folder that it takes for a ComfyUI."""
    monkeypatch.setattr(overhead.dev, "find_comfyui", lambda root: tmp_path)
    return overhead


@pytest.fixture
def hosted(overhead: Any) -> Any:
    """The benchmark inside a ComfyUI."""
    try:
        host = boot()
    except HostMissing as missing:
        pytest.skip(str(missing))
    overhead.import_library(host.root, ["--cpu"])  # puts its folder before this project's, as `main` does
    return overhead


@pytest.fixture
def quick(hosted: Any, monkeypatch: pytest.MonkeyPatch) -> Any:
    """The benchmark without child processes, which would import everything again."""
    monkeypatch.setattr(hosted, "child_memory", lambda sizes, way: hosted.peak_memory(hosted.make(sizes), way))
    return hosted


def test_ratios_are_printed_and_written(quick: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert quick.main([*TOY, f"--json={tmp_path / 'report.json'}"]) == 0
    report = json.loads((tmp_path / "report.json").read_text())
    printed = capsys.readouterr().out
    for way in quick.WAYS:
        assert len(report["seconds"][way]) == 2
        assert f"{report['ratios'][way]['median']:.3f}" in printed
    assert "seconds" not in printed  # those of a CPU are nobody's business
    assert report["ratios"]["plain"] == {"median": 1, "least": 1, "most": 1}
    assert report["memory"]["plain"]["kept"] == 0 and report["memory"]["ours"]["kept"] == 4 * KEPT
    assert set(report["bars"]) == {"time", "memory", "latents"}


def test_the_latents_of_all_ways_are_compared(hosted: Any) -> None:
    _, sizes, _ = hosted.parse(TOY)
    with hosted.torch.inference_mode():
        model = hosted.make(sizes)
        model.plain()
        recordings = [model.ours(), model.half()]
        assert model.differing == 0
        assert [recording.steps for recording in recordings] == [(0, 1, 2, 3), (0, 1)]
        assert recordings[0].grid == (1, 4, 4) and recordings[0].scores.std(dim=-1).min() > 0
        model.compare(hosted.torch.zeros(1, 16, 8, 8))
    assert model.differing == 16 * 8 * 8


def test_flux_dev_has_a_guidance_embedding_and_half_precision_works(hosted: Any) -> None:
    _, sizes, _ = hosted.parse([*TOY, "--shape=flux-dev", "--dtype=bfloat16"])
    with hosted.torch.inference_mode():
        model = hosted.make(sizes)
        flux = model.model.model.diffusion_model
        assert flux.params.guidance_embed and {weight.dtype for weight in flux.parameters()} == {hosted.torch.bfloat16}
        model.plain()
        assert model.ours().scores.isfinite().all() and model.differing == 0


def test_memory_is_measured_in_a_process_of_its_own(hosted: Any) -> None:
    _, sizes, _ = hosted.parse(TOY)
    memory = hosted.child_memory(sizes, "half")
    assert memory["peak"] > 100 * hosted.MIB  # at least torch itself
    assert memory["kept"] == 2 * KEPT


@pytest.mark.parametrize(("bar", "code"), [(1e-6, 1), (1e6, 0)])
def test_check_fails_when_a_bar_is_missed(
    quick: Any, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], bar: float, code: int
) -> None:
    monkeypatch.setattr(quick, "BARS", {"cpu": {"time": bar, "memory": 1e6, "latents": 0}})
    assert quick.main([*TOY, "--check"]) == code
    assert ("MISSED time" in capsys.readouterr().out) == bool(code)


def report_of_a_gpu() -> dict[str, Any]:
    """What `run` would find on a GPU with 300.5 MiB more in use."""
    mib = 2**20
    return {
        "sizes": {
            **{"shape": "flux-dev", "width": 3072, "blocks": 19, "singles": 38, "tokens": 4096, "text": 512},
            **{"concepts": 8, "steps": 20, "device": "cuda", "dtype": "bfloat16"},
        },
        "machine": {"device": "a GPU", "threads": 8, "torch": "2", "comfyui": "1"},
        "seconds": {"plain": [10.0, 12.0], "ours": [10.1, 12.3], "half": [10.0, 12.1]},
        "ratios": {way: {"median": 1.015, "least": 1.01, "most": 1.02} for way in ("plain", "ours", "half")},
        "memory": {"plain": {"peak": 0, "kept": 0}, "ours": {"peak": int(300.5 * mib), "kept": 50 * mib}},
        "differing": 3,
    }


def test_a_gpu_is_judged_by_its_own_bars_and_prints_seconds(overhead: Any) -> None:
    report = report_of_a_gpu()
    bars = overhead.bars(report)
    assert {name: bar["met"] for name, bar in bars.items()} == {"time": True, "memory": False, "latents": False}
    assert bars["memory"]["value"] == 300.5  # its recording is on the CPU
    printed = overhead.table({**report, "bars": bars})
    assert "seconds" in printed and "11.200" in printed and "differ in 3 values" in printed


def test_the_shape_gives_what_no_option_names(found: Any) -> None:
    _, sizes, _ = found.parse(["--shape=flux-dev", "--steps=2"])
    assert (sizes.width, sizes.blocks, sizes.singles, sizes.text, sizes.steps) == (3072, 19, 38, 512, 2)
    _, sizes, _ = found.parse([])
    assert (sizes.width, sizes.blocks, sizes.singles, sizes.steps) == (1024, 8, 8, 4)
    assert (sizes.tokens, sizes.concepts) == (4096, 8)


@pytest.mark.parametrize(
    ("option", "reason"),
    [
        ("--width=200", "multiple of 128"),
        ("--pixels=100", "multiple of 16"),
        ("--steps=0", "at least one of steps"),
        ("--pairs=0", "at least one round"),
        ("--json=missing/report.json", "no folder missing"),
    ],
)
def test_bad_options_are_refused(found: Any, capsys: pytest.CaptureFixture[str], option: str, reason: str) -> None:
    with pytest.raises(SystemExit, match="2"):
        found.main([option])
    assert reason in capsys.readouterr().err


def test_without_a_comfyui_it_says_how_to_name_one(
    overhead: Any, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(overhead.dev, "find_comfyui", lambda root: None)
    with pytest.raises(SystemExit, match="2"):
        overhead.main([])
    assert "no ComfyUI to measure in. Set COMFYUI_PATH" in capsys.readouterr().err


def test_an_environment_without_its_packages_is_refused(
    found: Any, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def import_library(root: Path, options: list[str]) -> None:
        raise ModuleNotFoundError("No module named 'av'", name="av")

    monkeypatch.setattr(found, "import_library", import_library)
    assert found.main([]) == 2
    assert "needs the package 'av'" in capsys.readouterr().err
