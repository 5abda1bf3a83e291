"""What a viewer in a browser is told, and that the files it is told of hold it."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from concept_attention.errors import UserError
from concept_attention.heatmaps.heatmaps import make_heatmaps
from concept_attention.viewer.folder import ViewerFolder
from concept_attention.viewer.manifest import write_view
from concept_attention.viewer.maps import ViewerMaps, maps_of_heatmaps, maps_of_recording

from ..support.recordings import make_recording

ADDRESS = {"subfolder": "concept_attention", "type": "temp"}


def images(count: int = 2, height: int = 48, width: int = 80) -> Tensor:
    return torch.rand(count, height, width, 3, generator=torch.Generator().manual_seed(1))


def write(maps: ViewerMaps, image: Tensor, path: Path) -> dict[str, Any]:
    return write_view(maps, image, ViewerFolder(path), ADDRESS)


def test_the_manifest_says_all_that_a_viewer_needs(tmp_path: Path) -> None:
    manifest = write(maps_of_recording(make_recording()), images(), tmp_path)
    assert json.loads(json.dumps(manifest, allow_nan=False)) == manifest
    entries = manifest.pop("pictures")
    assert manifest == {
        "concepts": [{"name": name, "role": "concept"} for name in ("sky", "house", "tree")],
        "kind": "share",
        "average": "values",
        "temperature": 1.0,
        "layers": [2, 5, 6, 7],
        "layer_groups": [[2], [5], [6], [7]],
        "default_layers": [6, 7],
        "steps": [4, 5, 6],
        "step_groups": [[0], [1], [2]],
        "sigmas": [1.0, 0.9, 0.8],
        "grid": [1, 3, 5],
        "visible": [1.0, 1.0],
        "image_size": [48, 80],
        "reduced": False,
        "regions": [],
    }
    for entry in entries:
        assert set(entry) == {"frames", "values", "dtype", "offset", "scale", "shape"}
        assert entry["dtype"] == "uint16" and entry["shape"] == [3, 4, 3, 1, 3, 5]
        (frame,) = entry["frames"]
        assert (frame["width"], frame["height"], frame["t"]) == (80, 48, 0)
        for file in (frame, entry["values"]):
            assert {**file, **ADDRESS} == file and (tmp_path / file["filename"]).is_file()


def test_the_files_hold_numbers_and_images_of_each_of_a_batch(tmp_path: Path) -> None:
    recording, image = make_recording(), images()
    manifest = write(maps_of_recording(recording), image, tmp_path)
    for index, entry in enumerate(manifest["pictures"]):
        raw = np.frombuffer((tmp_path / entry["values"]["filename"]).read_bytes(), "<u2").reshape(entry["shape"])
        values = entry["offset"] + entry["scale"] * raw[1, 3, :, 0].astype(np.float64)
        expected = make_heatmaps(recording, "7", "1").values[index].numpy()
        np.testing.assert_allclose(values, expected, rtol=0, atol=1e-5)
        shown = np.asarray(Image.open(tmp_path / entry["frames"][0]["filename"]))
        assert np.array_equal(shown, (image[index] * 255).round().to(torch.uint8).numpy())


def test_regions_are_named_and_their_masks_are_bytes(tmp_path: Path) -> None:
    masks = torch.rand(2, 2, 1, 6, 10, generator=torch.Generator().manual_seed(2))
    recording = dataclasses.replace(make_recording(), regions=("house", "sky + tree"), region_masks=masks)
    manifest = write(maps_of_recording(recording), images(), tmp_path)
    assert manifest["regions"] == ["house", "sky + tree"]
    for index, entry in enumerate(manifest["pictures"]):
        file = entry["regions"]
        assert {**file, **ADDRESS} == file and file["shape"] == [2, 1, 6, 10]
        stored = np.frombuffer((tmp_path / file["filename"]).read_bytes(), np.uint8).reshape(file["shape"])
        np.testing.assert_allclose(stored / 255, masks[:, index].numpy(), rtol=0, atol=0.5 / 255 + 1e-6)


def test_of_several_latent_frames_per_token_the_first_counts(tmp_path: Path) -> None:
    recording = make_recording()
    masks = torch.zeros(1, 2, 2, 6, 10)
    masks[:, :, 0] = 1
    recording = dataclasses.replace(recording, regions=("house",), region_masks=masks)  # two frames, one in the grid
    entry = write(maps_of_recording(recording), images(), tmp_path)["pictures"][1]
    assert entry["regions"]["shape"] == [1, 1, 6, 10]
    assert set((tmp_path / entry["regions"]["filename"]).read_bytes()) == {255}


def test_the_same_again_is_the_same_files(tmp_path: Path) -> None:
    first = write(maps_of_recording(make_recording()), images(), tmp_path)
    before = {path: path.stat().st_ino for path in tmp_path.glob("*.*")}
    assert write(maps_of_recording(make_recording()), images(), tmp_path) == first
    assert {path: path.stat().st_ino for path in tmp_path.glob("*.*")} == before and len(before) == 4


def test_images_of_another_size_are_other_files(tmp_path: Path) -> None:
    """Black images of the same number of pixels."""
    tall, wide = (maps_of_recording(make_recording(grid=grid, batch=1)) for grid in ((1, 4, 2), (1, 2, 4)))
    names = {
        write(maps, torch.zeros(1, *maps.image_size, 3), tmp_path)["pictures"][0]["frames"][0]["filename"]
        for maps in (tall, wide)
    }
    assert len(names) == 2


def test_it_says_whether_steps_or_layers_were_joined(tmp_path: Path) -> None:
    recording = make_recording()
    manifest = write(maps_of_recording(recording, image_limit=2 * 4 * 3 * 15 * 2), images(), tmp_path)
    assert manifest["step_groups"] == [[0], [1, 2]] and manifest["steps"] == [4, 5] and manifest["sigmas"] == [1.0, 0.9]
    assert manifest["reduced"] is True
    manifest = write(maps_of_recording(recording, image_limit=2 * 3 * 15 * 2), images(), tmp_path)
    assert manifest["layer_groups"] == [[2, 5], [6, 7]] and manifest["layers"] == [2, 6]
    assert manifest["reduced"] is True


@pytest.mark.parametrize(
    ("counts", "expected"),
    [
        (None, [0, 1, 2]),
        ((1, 4, 4), [0, 1, 1, 1, 1, 2, 2, 2, 2]),
        ((5, 8, 4), [0] * 5 + [1] * 8 + [2] * 4),
        ((5, 8, 4), [0, 1, 2]),  # of every T the first, say
    ],
)
def test_every_frame_of_every_video_names_its_latent_frame(
    tmp_path: Path, counts: tuple[int, ...] | None, expected: list[int]
) -> None:
    recording = dataclasses.replace(make_recording(grid=(3, 3, 5)), frame_counts=counts)
    each, image = len(expected), images(2 * len(expected))
    for maps in (maps_of_recording(recording), maps_of_heatmaps(make_heatmaps(recording))):
        for video, entry in enumerate(write(maps, image, tmp_path)["pictures"]):
            assert entry["shape"][3:] == [3, 3, 5]
            assert [frame["t"] for frame in entry["frames"]] == expected
            shown = np.asarray(Image.open(tmp_path / entry["frames"][1]["filename"]))
            assert np.array_equal(shown, (image[video * each + 1] * 255).round().to(torch.uint8).numpy())


def test_all_frames_of_one_token_are_shown(tmp_path: Path) -> None:
    maps = maps_of_recording(dataclasses.replace(make_recording(), frame_counts=(5,)))
    entries = write(maps, images(10), tmp_path)["pictures"]
    assert [[frame["t"] for frame in entry["frames"]] for entry in entries] == [[0] * 5] * 2


def test_a_mean_over_steps_says_that_it_is_one(tmp_path: Path) -> None:
    recording = dataclasses.replace(make_recording(steps=1), averaged="share")
    manifest = write(maps_of_recording(recording), images(), tmp_path)
    assert manifest["reduced"] is True
    assert manifest["step_groups"] == [[0]] and manifest["pictures"][0]["shape"][0] == 1


def test_finished_heatmaps_have_nothing_to_choose(tmp_path: Path) -> None:
    heatmaps = make_heatmaps(make_recording(), kind="score")
    manifest = write(maps_of_heatmaps(heatmaps), images(), tmp_path)
    for key in ("layers", "layer_groups", "default_layers", "steps", "step_groups", "sigmas"):
        assert manifest[key] == []
    assert manifest["kind"] == "score" and manifest["reduced"] is False
    assert [entry["shape"] for entry in manifest["pictures"]] == [[1, 1, 3, 1, 3, 5]] * 2


def test_older_files_go_and_none_of_this_run(tmp_path: Path) -> None:
    folder = ViewerFolder(tmp_path, limit=1)
    write_view(maps_of_recording(make_recording(seed=1)), images(), folder, ADDRESS)
    manifest = write_view(maps_of_recording(make_recording(seed=2)), images(), folder, ADDRESS)
    named = {entry["values"]["filename"] for entry in manifest["pictures"]}
    named |= {frame["filename"] for entry in manifest["pictures"] for frame in entry["frames"]}
    assert {path.name for path in tmp_path.iterdir()} == named | {"generation"}


@pytest.mark.parametrize(
    ("grid", "image", "message"),
    [
        ((1, 3, 5), (3, 48, 80), r"Got 3 image\(s\), but heatmaps of 2 image\(s\)\. Connect the IMAGE that was"),
        ((1, 3, 5), (4, 48, 80), r"Got 4 image\(s\), but heatmaps of 2 image\(s\)"),
        ((3, 3, 5), (2, 48, 80), r"Got 2 image\(s\), but heatmaps of 2 x 3 frames"),
        ((3, 3, 5), (18, 48, 80), r"Got 18 image\(s\), but heatmaps of 2 x 3 frames"),
        ((1, 3, 5), (2, 80, 48), "a different aspect ratio"),
    ],
)
def test_images_that_do_not_belong_to_the_maps_are_refused(
    tmp_path: Path, grid: tuple[int, int, int], image: tuple[int, int, int], message: str
) -> None:
    with pytest.raises(UserError, match=message):
        write(maps_of_recording(make_recording(grid=grid)), images(*image), tmp_path)
    assert not list(tmp_path.iterdir())
