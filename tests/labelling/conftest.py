"""Fixtures for labelling without a model."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from concept_attention.labelling import run as run_module
from concept_attention.labelling.items import Totals
from concept_attention.labelling.run import label
from concept_attention.labelling.sink import FolderSink
from concept_attention.labelling.sources import open_source
from tests.support.labelling import SETTINGS, ColourCrew, draw_pictures

LabelFolder = Callable[..., Totals]


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    draw_pictures(tmp_path / "photos", 11)
    return tmp_path / "photos"


@pytest.fixture
def label_folder(monkeypatch: pytest.MonkeyPatch) -> LabelFolder:
    """Label a folder by its pictures' colours, in shards of three."""
    monkeypatch.setattr(run_module, "Crew", ColourCrew)

    def run(photos: Path, out: Path, layout: Any = "masks", settings: Any = SETTINGS, **options: Any) -> Totals:
        sink = FolderSink(out, layout, settings, caption=options.pop("caption", ""))
        return label(open_source([photos], shard_size=3), sink, settings, devices=["cpu"], **options)

    return run
