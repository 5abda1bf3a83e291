"""A finished run becomes a folder that loads; one that went on from the shipped model keeps its decoder."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from diffusers import DiffusionPipeline

from concept_attention.embedded import COGVIDEOX_FOLDER, FLUX_FOLDER, SD3_FOLDER, SD_FOLDER
from concept_attention.errors import UserError
from concept_attention.tiny.models.codec import CODEC, read_codec
from concept_attention.tiny.training.__main__ import main
from concept_attention.tiny.training.export import export, read_parts
from concept_attention.tiny.training.families import FAMILIES
from concept_attention.tiny.training.trainer import Trainer

CODEC_OF_MODEL = read_codec(FLUX_FOLDER / CODEC)


@pytest.mark.parametrize(
    ("family", "source"),
    [("flux", FLUX_FOLDER), ("sd3", SD3_FOLDER), ("cogvideox", COGVIDEOX_FOLDER), ("sd", SD_FOLDER)],
)
def test_a_shipped_model_exported_again_is_itself(family: str, source: Path, tmp_path: Path) -> None:
    trainer = Trainer(torch.device("cpu"), family=FAMILIES[family])
    trainer.start_from(read_parts(source, FAMILIES[family]))
    trainer.save(tmp_path, minutes=1, next_seed=0)
    folder = export(tmp_path, tmp_path / "model", CODEC_OF_MODEL, source, FAMILIES[family])
    files = [sorted(path.relative_to(top) for path in top.rglob("*.*")) for top in (folder, source)]
    assert files[0] == files[1]
    again, shipped = (DiffusionPipeline.from_pretrained(path) for path in (folder, source))
    for part in (*FAMILIES[family].modules.values(), "vae"):
        ours, theirs = (getattr(pipeline, part).state_dict() for pipeline in (again, shipped))
        assert ours.keys() == theirs.keys()
        for name, tensor in ours.items():
            torch.testing.assert_close(tensor, theirs[name], rtol=0, atol=0, msg=name)
    assert read_codec(folder / CODEC).basis.tolist() == CODEC_OF_MODEL.basis.tolist()


@pytest.mark.parametrize("option", ["--start", "--latents"])
def test_a_folder_that_was_not_exported_is_one_line(
    option: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.argv", ["training", "--out", str(tmp_path / "run"), option, str(tmp_path)])
    with pytest.raises(SystemExit, match=r"^error: .* has no codec.safetensors. Name a folder that a training run"):
        main()


def test_a_run_without_a_decoder_is_refused(tmp_path: Path) -> None:
    Trainer(torch.device("cpu")).save(tmp_path, minutes=1, next_seed=0)
    with pytest.raises(UserError, match="no checkpoint of the autoencoder. Train it first"):
        export(tmp_path, tmp_path / "model", CODEC_OF_MODEL)
