"""The benchmarks of labelling at a toy size: they run, report and judge."""

from __future__ import annotations

import importlib
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

pytest.importorskip("diffusers")

from concept_attention.labelling.findings import finding
from concept_attention.labelling.items import Labelled, Shard
from concept_attention.labelling.settings import MaskSettings
from concept_attention.labelling.sink import FolderSink
from concept_attention.tiny.world.scenes import LABELS

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def load(monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.syspath_prepend(str(ROOT))
    return lambda name: importlib.import_module(f"benchmarks.{name}")


def test_rates_shares_and_memory_are_printed(
    load: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """In this process: children would import everything again."""
    labelling = load("labelling")
    monkeypatch.setattr(labelling, "ways", lambda options: ["local-1"])

    def child(module: str, arguments: list[str]) -> Any:
        capsys.readouterr()
        labelling.main(arguments)
        return json.loads(capsys.readouterr().out)

    monkeypatch.setattr(labelling, "child", child)
    file = tmp_path / "report.json"
    assert labelling.main(["--count", "27", "--many", "9", "--side", "64", "--json", str(file)]) == 0
    report = json.loads(file.read_text())
    assert report["worker"]["pictures"] == report["local-1"]["pictures"] == 27 and report["many"]["pictures"] == 9
    assert 0 < report["worker"]["model_of_wall"] < 1


def test_true_labels_score_one(load: Any, tmp_path: Path) -> None:
    pytest.importorskip("pycocotools")
    landscapes = load("labelling_landscapes")
    sink = FolderSink(tmp_path, "coco", MaskSettings(LABELS))
    shard = Shard("00000", "", None)
    sink.begin([shard])
    pictures = []
    for number in range(3):
        scene = landscapes.scene(number)
        findings = tuple(
            finding(LABELS[label], 1.0, (255 * (scene.labels == label)).astype(np.uint8))
            for label in np.unique(scene.labels)
        )
        image = Image.fromarray(scene.image)
        pictures.append(Labelled(f"{number}", f"{number}.png", "", image, findings, findings[0].mask))
    sink.write(shard, iter(pictures), dict)
    sink.finish([shard], [])
    report = landscapes.score(tmp_path)
    assert (report["pictures"], report["pixel_accuracy"], report["precision"], report["recall"]) == (3, 1, 1, 1)
