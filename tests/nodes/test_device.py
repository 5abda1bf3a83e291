"""Nodes after the sampler work on ComfyUI's device, and fall back on the CPU."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.support.other_device import DEVICE, OtherDevice

from .conftest import Pack

RUNS: dict[str, Callable[..., Any]] = {
    "heatmaps": lambda pack, recording, pictures: pack.run("ConceptHeatmaps", recording=recording)[0].values,
    "mask": lambda pack, recording, pictures: pack.run(
        "ConceptHeatmapToMask", heatmaps=pack.run("ConceptHeatmaps", recording=recording)[0], guide=pictures
    )[0],
    "overlay": lambda pack, recording, pictures: pack.run(
        "ConceptHeatmapOverlay", heatmaps=pack.run("ConceptHeatmaps", recording=recording)[0], image=pictures
    )[0],
    "viewer": lambda pack, recording, pictures: pack.run(
        "ConceptHeatmapViewer", recording=recording, image=pictures, guided=True
    )[2],
}
OPERATIONS = {  # that tell the work from others
    "heatmaps": {"softmax"},
    "mask": {"cumsum", "upsample_bilinear2d_aa"},
    "overlay": {"index_select"},
    "viewer": {"softmax", "cumsum", "round_"},
}


@pytest.fixture(autouse=True)
def other_device(tmp_path: Path, pack: Pack, monkeypatch: pytest.MonkeyPatch) -> None:
    import comfy.model_management
    import folder_paths

    monkeypatch.setattr(comfy.model_management, "get_torch_device", lambda: DEVICE)
    monkeypatch.setattr(folder_paths, "temp_directory", str(tmp_path))


@pytest.mark.parametrize("what", RUNS)
def test_the_device_does_the_work(pack: Pack, recording: Any, pictures: torch.Tensor, what: str) -> None:
    with OtherDevice() as device:
        found = RUNS[what](pack, recording, pictures)
    assert device.operations >= OPERATIONS[what]
    assert found.device == torch.device("cpu")
    assert torch.allclose(found, _on_the_cpu(what, pack, recording, pictures), atol=1e-4)


def _on_the_cpu(what: str, *given: Any) -> torch.Tensor:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("comfy.model_management.get_torch_device", lambda: torch.device("cpu"))
        made: torch.Tensor = RUNS[what](*given)
    return made


@pytest.mark.parametrize("error", [torch.OutOfMemoryError("out of memory"), NotImplementedError("no such operation")])
def test_what_the_device_cannot_do_the_cpu_does(pack: Pack, error: Exception) -> None:
    tried = []

    def compute(number: int, *, device: Any) -> int:
        tried.append(str(device))
        if torch.device(device) == DEVICE:
            raise error
        return number + 1

    assert pack.module("concept_attention.hosts.comfyui.device").on_torch_device(compute, 1) == 2
    assert tried == [str(DEVICE), "cpu"]


def test_other_errors_are_raised_at_once(pack: Pack) -> None:
    tried = []

    def compute(*, device: Any) -> None:
        tried.append(device)
        raise ValueError("mistake")

    with pytest.raises(ValueError, match="mistake"):
        pack.module("concept_attention.hosts.comfyui.device").on_torch_device(compute)
    assert len(tried) == 1
