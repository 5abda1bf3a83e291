"""The viewer node: the same outputs as the nodes it replaces, and files for the browser."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from .conftest import Pack
from .test_masks import video_heatmaps


@pytest.fixture(autouse=True)
def temporary(tmp_path: Path, pack: Pack, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """An empty temporary folder of ComfyUI; where the viewer's files go."""
    import folder_paths

    monkeypatch.setattr(folder_paths, "temp_directory", str(tmp_path))
    yield tmp_path / "concept_attention"


def manifest_of(output: Any) -> dict[str, Any]:
    (manifest,) = output.ui["concept_viewer"]
    return dict(manifest)


def look(pack: Pack, pictures: torch.Tensor, **inputs: Any) -> Any:
    return pack.run("ConceptHeatmapViewer", image=pictures, **inputs)


@pytest.mark.parametrize(
    "choice",
    [
        {},
        {"layers": "all", "steps": "0,2-3"},
        {"layers": "1-2", "steps": "-1", "mode": "flux2", "temperature": 20.0},
        {"mode": "sd3"},
    ],
)
def test_heatmaps_are_those_of_concept_heatmaps(
    pack: Pack, recording: Any, pictures: torch.Tensor, choice: dict[str, Any]
) -> None:
    output = look(pack, pictures, recording=recording, **choice)
    expected = pack.run("ConceptHeatmaps", recording=recording, **choice)[0]
    assert output[0] is pictures
    assert torch.equal(output[1].values, expected.values)
    assert (output[1].kind, output[1].image_size, output[1].concepts) == ("share", (64, 96), expected.concepts)


@pytest.mark.parametrize("names", ["", "sun", "sky, HOUSE"])
@pytest.mark.parametrize(
    "cut",
    [
        {},
        {"method": "threshold", "threshold": 0.3},
        {"method": "argmax"},
        {"method": "percentile", "percentile": 70.0},
        {"method": "otsu"},
    ],
)
def test_masks_are_those_of_concept_heatmaps_to_mask(
    pack: Pack, recording: Any, pictures: torch.Tensor, names: str, cut: dict[str, Any]
) -> None:
    output = look(pack, pictures, recording=recording, concepts=names, layers="all", **cut)
    heatmaps = pack.run("ConceptHeatmaps", recording=recording, layers="all")[0]
    assert torch.equal(output[2], pack.run("ConceptHeatmapToMask", heatmaps=heatmaps, concepts=names, **cut)[0])
    assert output[2].shape == (2, 64, 96)


def test_the_manifest_has_all_concepts_steps_and_layers(pack: Pack, recording: Any, pictures: torch.Tensor) -> None:
    chosen = {"concepts": "sky, SUN", "layers": "1,3", "steps": "1-2", "method": "threshold", "threshold": 0.25}
    manifest = manifest_of(look(pack, pictures, recording=recording, **chosen))
    assert manifest["concepts"][2] == {"name": "sky", "role": "background"} and manifest["grid"] == [1, 4, 6]
    assert manifest["step_groups"] == [[0], [1], [2], [3]] and manifest["layers"] == [0, 1, 2, 3]
    assert manifest == manifest_of(look(pack, pictures, recording=recording))


def test_the_manifest_says_how_scores_are_read(pack: Pack, recording: Any, pictures: torch.Tensor) -> None:
    manifest = manifest_of(look(pack, pictures, recording=recording, mode="flux2", temperature=20.0))
    assert (manifest["average"], manifest["temperature"]) == ("softmax", 20.0)
    manifest = manifest_of(look(pack, pictures, recording=recording, temperature=3.0))
    assert (manifest["average"], manifest["temperature"]) == ("values", 3.0)


def test_the_files_in_the_temporary_folder_hold_all_steps_and_layers(
    pack: Pack, recording: Any, pictures: torch.Tensor, temporary: Path
) -> None:
    """Whatever is chosen: choosing happens in the browser."""
    manifest = manifest_of(look(pack, pictures, recording=recording, layers="0", steps="1"))
    entry = manifest["pictures"][1]
    assert entry["shape"] == [4, 4, 4, 1, 4, 6]
    for file in (entry["values"], *entry["frames"]):
        assert (file["subfolder"], file["type"]) == ("concept_attention", "temp")
    raw = np.frombuffer((temporary / entry["values"]["filename"]).read_bytes(), "<u2").reshape(entry["shape"])
    mean = torch.from_numpy(raw[[0, 3]][:, 2:].mean(axis=(0, 1))[:, 0] / 65535).float()
    expected = pack.run("ConceptHeatmaps", recording=recording, layers="2-3", steps="0,3")[0].values[1]
    torch.testing.assert_close(mean, expected, rtol=0, atol=1e-5)


@pytest.mark.parametrize("kind", ["share", "stretched", "score"])
def test_finished_heatmaps_pass_through(pack: Pack, recording: Any, pictures: torch.Tensor, kind: str) -> None:
    heatmaps = pack.run("ConceptHeatmaps", recording=recording, kind=kind)[0]
    method = "soft" if kind == "share" else "otsu"
    output = look(pack, pictures, heatmaps=heatmaps, concepts="sun", method=method)
    assert output[1] is heatmaps
    masked = pack.run("ConceptHeatmapToMask", heatmaps=heatmaps, concepts="sun", method=method)
    assert torch.equal(output[2], masked[0])
    manifest = manifest_of(output)
    assert manifest["kind"] == kind and manifest["steps"] == manifest["layers"] == []


def test_videos_have_a_mask_per_frame(pack: Pack) -> None:
    video, frames = video_heatmaps(pack), torch.rand(6, 64, 96, 3)
    output = look(pack, frames, heatmaps=video, concepts="b")
    assert torch.equal(output[2], pack.run("ConceptHeatmapToMask", heatmaps=video, concepts="b")[0])
    assert [len(entry["frames"]) for entry in manifest_of(output)["pictures"]] == [3, 3]


def test_every_frame_of_a_video_has_a_mask_as_from_the_node_for_masks(pack: Pack) -> None:
    video = dataclasses.replace(video_heatmaps(pack), frame_counts=(1, 2, 2))
    output = look(pack, torch.rand(10, 64, 96, 3), heatmaps=video, concepts="b")
    assert torch.equal(output[2], pack.run("ConceptHeatmapToMask", heatmaps=video, concepts="b")[0])
    entry, _ = manifest_of(output)["pictures"]
    assert len(output[2]) == 10 and [frame["t"] for frame in entry["frames"]] == [0, 1, 1, 2, 2]


def test_alpha_is_not_shown(pack: Pack, recording: Any, pictures: torch.Tensor, temporary: Path) -> None:
    with_alpha = torch.cat([pictures, torch.zeros(2, 64, 96, 1)], dim=-1)
    first, second = (manifest_of(look(pack, image, recording=recording)) for image in (pictures, with_alpha))
    assert first == second


def test_nothing_runs_again_before_files_are_removed(
    pack: Pack, recording: Any, pictures: torch.Tensor, temporary: Path
) -> None:
    node = pack.nodes["ConceptHeatmapViewer"]
    before = node.fingerprint_inputs(concepts="sun")
    output = look(pack, pictures, recording=recording)
    assert node.fingerprint_inputs() == before
    next(temporary.glob("*.bin")).unlink()
    assert node.fingerprint_inputs() != before
    assert manifest_of(look(pack, pictures, recording=recording)) == manifest_of(output)


def test_something_to_look_at_must_be_connected(
    pack: Pack, recording: Any, heatmaps: Any, pictures: torch.Tensor
) -> None:
    with pytest.raises(ValueError, match="Nothing to show is connected. Connect a recording or heatmaps."):
        look(pack, pictures)
    with pytest.raises(ValueError, match="Connect one of them, not both."):
        look(pack, pictures, recording=recording, heatmaps=heatmaps)


@pytest.mark.parametrize(
    ("name", "value"), [("layers", "1"), ("steps", "0-2"), ("mode", "flux2"), ("temperature", 2.0)]
)
def test_nothing_can_be_chosen_of_finished_heatmaps(
    pack: Pack, heatmaps: Any, pictures: torch.Tensor, name: str, value: Any
) -> None:
    with pytest.raises(ValueError, match=f"`{name}` cannot be .*: these heatmaps are finished. Set it back to"):
        look(pack, pictures, heatmaps=heatmaps, **{name: value})
    look(pack, pictures, heatmaps=heatmaps, layers=" Auto", steps="ALL ")


def test_pictures_of_something_else_are_refused(pack: Pack, recording: Any, temporary: Path) -> None:
    with pytest.raises(ValueError, match=r"Got 1 image\(s\), but heatmaps of 2 image\(s\)\. Connect the IMAGE"):
        look(pack, torch.rand(1, 64, 96, 3), recording=recording)
    with pytest.raises(ValueError, match="a different aspect ratio"):
        look(pack, torch.rand(2, 96, 64, 3), recording=recording)
    with pytest.raises(ValueError, match='There is no concept "moon"'):
        look(pack, torch.rand(2, 64, 96, 3), recording=recording, concepts="moon")
    assert not temporary.exists() or not list(temporary.iterdir())


FINISH = {"subtract": "sun", "holes": 20.0, "islands": 2.0, "grow": 3, "blur": 1.5}


def test_masks_are_finished_as_by_the_node_for_masks(pack: Pack, recording: Any, pictures: torch.Tensor) -> None:
    cut = {"concepts": "house", "method": "mean"}
    output = look(pack, pictures, recording=recording, layers="all", guided=True, **cut, **FINISH)
    heatmaps = pack.run("ConceptHeatmaps", recording=recording, layers="all")[0]
    made = pack.run("ConceptHeatmapToMask", heatmaps=heatmaps, guide=pictures, **cut, **FINISH)[0]
    plain = pack.run("ConceptHeatmapToMask", heatmaps=heatmaps, **cut)[0]
    assert torch.equal(output[2], made) and not torch.equal(made, plain)
    assert torch.equal(output[1].values, heatmaps.values)  # heatmaps stay as they are


def test_every_picked_concept_has_a_mask_of_its_own(pack: Pack, recording: Any, pictures: torch.Tensor) -> None:
    output = look(pack, pictures, recording=recording, concepts="sun, sky", method="argmax", subtract="house")
    heatmaps = output[1]
    each = [
        pack.run("ConceptHeatmapToMask", heatmaps=heatmaps, concepts=name, method="argmax", subtract="house")[0]
        for name in ("sun", "sky")
    ]
    assert torch.equal(output[3], torch.cat(each))
    assert torch.equal(output[2], torch.stack(each).amax(dim=0))


@pytest.fixture
def edited_mask(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> torch.Tensor:
    """What the mask editor saved as `painted.png` in the input folder, (64, 96), 0-1."""
    import folder_paths

    folder = tmp_path / "input"
    folder.mkdir()
    monkeypatch.setattr(folder_paths, "input_directory", str(folder))
    mask = torch.randint(0, 256, (64, 96), generator=torch.Generator().manual_seed(1))
    pixels = np.full((64, 96, 4), 255 - mask.numpy()[..., None], dtype=np.uint8)
    Image.fromarray(pixels).save(folder / "painted.png")
    return mask.float() / 255


def test_an_edited_mask_replaces_that_of_its_picture(
    pack: Pack, recording: Any, pictures: torch.Tensor, edited_mask: torch.Tensor
) -> None:
    plain = look(pack, pictures, recording=recording, concepts="sun")
    output = look(pack, pictures, recording=recording, concepts="sun", edited="1: painted.png [input]\n")
    assert torch.equal(output[2][0], plain[2][0]) and torch.equal(output[3], plain[3])
    torch.testing.assert_close(output[2][1], edited_mask)


@pytest.mark.parametrize(
    ("edited", "words"),
    [
        ("painted.png", "`edited` has one `position: file` per line"),
        ("2: painted.png", "names mask 2, but there are 2, counted from 0"),
        ("0: other.png", "'other.png' is not in ComfyUI's input folder"),
        ("0: ../../secret.png", "is not in ComfyUI's input folder"),
    ],
)
def test_an_edited_mask_that_cannot_be_used_is_named(
    pack: Pack, recording: Any, pictures: torch.Tensor, edited_mask: torch.Tensor, edited: str, words: str
) -> None:
    with pytest.raises(ValueError, match=words):
        look(pack, pictures, recording=recording, edited=edited)
