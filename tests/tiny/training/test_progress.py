"""What a training run shows of itself."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from concept_attention.tiny.models.codec import fit_codec
from concept_attention.tiny.training import progress
from concept_attention.tiny.training.families import FAMILIES
from concept_attention.tiny.training.trainer import Trainer
from concept_attention.tiny.world.scenes import draw_scene


@pytest.mark.parametrize("family", FAMILIES)
def test_progress_is_a_sheet_of_images_and_an_accuracy(
    family: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(progress, "SCENES", 2)
    codec = fit_codec(np.stack([draw_scene(seed, 64, 64).image for seed in range(16)]))
    trainer = Trainer(torch.device("cpu"), family=FAMILIES[family])
    accuracy = progress.show_progress(trainer, codec, 4, tmp_path / "samples.png")
    if trainer.family.map_layers:
        assert accuracy is not None and 0 <= accuracy < 0.9  # nothing was learned yet
    else:
        assert accuracy is None
    frames = trainer.family.stages[-1].frames
    across = frames if trainer.family.clips else progress.COLUMNS
    rows = len(progress.PROMPTS) * frames // across
    assert Image.open(tmp_path / "samples.png").size == (64 * across, 64 * rows)
    assert all(module.training for module in trainer.parts.modules().values())  # a copy was looked at
