"""The check of a model in ComfyUI."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import folder_paths
import pytest

pytest.importorskip("diffusers")

from concept_attention.cli import main
from concept_attention.embedded import SIZES, TAUGHT
from concept_attention.errors import UserError
from concept_attention.tiny.check.checking import check_model
from concept_attention.tiny.check.in_comfyui import InComfyUI, load_checkpoint
from concept_attention.tiny.comfyui.loader import load_landscape
from concept_attention.tiny.comfyui.sd import load_landscape_sd


@pytest.mark.parametrize(
    ("name", "load", "reading", "iou", "auroc"),
    [("tiny", load_landscape, "concept", 0.8, 0.9), ("tiny-sd", load_landscape_sd, "cross", 0.4, 0.6)],
)
def test_a_model_is_checked(name: str, load: Any, reading: str, iou: float, auroc: float) -> None:
    subject = InComfyUI(*load(), *SIZES[name][0], taught=TAUGHT if name == "tiny" else "")
    check = check_model(subject, 3, rounds=1)
    found = check.maps.evaluation
    assert check.maps.reading == reading and (found.scenes, found.width) == (3, SIZES[name][0][0])
    assert found.mean_iou > iou and check.maps.absence_auroc >= auroc
    assert check.cost.identical and check.cost.time > 0


def test_the_command_line_checks_a_model_in_comfyui(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "check.json"
    where = ["--comfyui", folder_paths.base_path]
    code = main(
        ["check", "--model", "tiny-sd", *where, "--scenes", "2", "--rounds", "1", "--json", str(file), "--quiet"]
    )
    report = json.loads(file.read_text(encoding="utf-8"))
    assert code == 0 and report["bit_identical"] is True
    assert (report["model"], report["reading"], report["width"], report["note"]) == ("tiny-sd", "cross", 128, "")
    assert f"{'mean IoU':<15} {report['mean_iou']:6.3f}" in (text := capsys.readouterr().out)
    assert "The paper's figures are of photographs" in text


def test_a_file_that_is_no_checkpoint_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="There is no file"):
        load_checkpoint(tmp_path / "missing.safetensors")
    damaged = tmp_path / "damaged.safetensors"
    damaged.write_bytes(b"\x08\0\0\0\0\0\0\0{}      ")
    with pytest.raises(UserError, match="damaged.safetensors"):
        load_checkpoint(damaged)
