"""Videos on the command line: animations of the video, the overlays and every concept; analysis of a video."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageSequence

from concept_attention.files import save_animation
from concept_attention.heatmaps.heatmaps import make_heatmaps
from concept_attention.images import load_frames
from concept_attention.recording.file import load_recording

from ..support.diffusers.small_pipelines import make_cogvideox_pipeline

CONCEPTS = ["--concepts", "house", "tree", "--background", "sky"]
SIZE = ["--width", "64", "--height", "48"]


@pytest.fixture(scope="module")
def cogvideox(random_pipeline: Any) -> Any:
    return make_cogvideox_pipeline(random_pipeline)


@pytest.fixture
def video(run: Any, cogvideox: Any, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Run a command with a small random CogVideoX instead of the model it names."""
    monkeypatch.setattr("concept_attention.cli.model.load_pipeline", lambda *_: cogvideox)
    return run


def frames(path: Path) -> list[np.ndarray]:
    """The image shown at every eighth of a second; a GIF stores equal frames in a row as one longer frame."""
    shown: list[np.ndarray] = []
    with Image.open(path) as image:
        for one in ImageSequence.Iterator(image):
            shown += [np.asarray(one.convert("RGB"), dtype=float)] * round(one.info["duration"] / 120)
    return shown


def test_a_generated_video_comes_with_animations(video: Any, tmp_path: Path) -> None:
    output = video("generate", "a red house", *CONCEPTS, *SIZE, "--frames", "9", "--steps", "2", "--out", "out")
    assert output.code == 0, output.err
    assert "the video" in output.out and "video.gif" in output.out
    folder = tmp_path / "out"
    names = {
        "video",
        "overlay",
        "segmentation",
        *(f"{k}_{c}" for k in ("heatmap", "mask") for c in ("house", "tree", "sky")),
    }
    assert {one.name for one in folder.iterdir()} == {
        *(f"{name}.gif" for name in names), "recording.safetensors", "summary.json",
    }  # fmt: skip
    with Image.open(folder / "video.gif") as image:
        assert (image.size, image.n_frames, image.info["duration"], image.info["loop"]) == ((64, 48), 9, 120, 0)
    recording = load_recording(folder / "recording.safetensors")
    shares = make_heatmaps(recording).resized().values[0]
    from matplotlib import colormaps

    for number, name in enumerate(("house", "tree", "sky")):
        drawn, masks = frames(folder / f"heatmap_{name}.gif"), frames(folder / f"mask_{name}.gif")
        for place, heatmap, mask in zip((0, *[1] * 4, *[2] * 4), drawn, masks, strict=True):
            expected = colormaps["viridis"](shares[number, place].numpy())[..., :3] * 255
            assert np.abs(heatmap - expected).mean() < 3  # 256 colours
            others = np.delete(shares[:, place].numpy(), number, axis=0)
            assert np.array_equal(mask[..., 0] > 127, (shares[number, place].numpy() > others).all(axis=0))
    summary = json.loads((folder / "summary.json").read_text())
    assert (summary["settings"]["frames"], summary["grid"], summary["mode"]) == (9, [3, 3, 4], "flux")
    assert summary["files"]["video"] == "video.gif"


def test_images_of_an_earlier_run_are_removed(video: Any, run: Any, tmp_path: Path, random_pipeline: Any) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("concept_attention.cli.model.load_pipeline", lambda *_: random_pipeline)
        assert run("generate", "a red house", *CONCEPTS, *SIZE, "--steps", "1", "--out", "out").code == 0
    (tmp_path / "out" / "notes.png").write_bytes(b"mine")
    assert video("generate", "a red house", *CONCEPTS, *SIZE, "--frames", "1", "--steps", "1", "--out", "out").code == 0
    assert (tmp_path / "out" / "image.png").exists()  # a video of one frame is an image
    assert video("generate", "a red house", *CONCEPTS, *SIZE, "--frames", "9", "--steps", "1", "--out", "out").code == 0
    assert [one.name for one in (tmp_path / "out").glob("*.png")] == ["notes.png"]


def test_heatmaps_of_a_recorded_video_are_made_again(video: Any, run: Any, tmp_path: Path) -> None:
    assert video("generate", "a red house", *CONCEPTS, *SIZE, "--frames", "9", "--steps", "2", "--out", "out").code == 0
    before = {path.name: path.read_bytes() for path in (tmp_path / "out").iterdir()}
    output = run("heatmaps", "out/recording.safetensors", "--out", "again", "--json")
    assert output.code == 0, output.err
    assert {path.name for path in (tmp_path / "again").iterdir()} == set(before)
    for name in (name for name in before if name.endswith(".gif")):
        again, first = (frames(tmp_path / folder / name) for folder in ("again", "out"))
        assert len(again) == 9
        differ = [np.abs(ours - theirs).mean() for ours, theirs in zip(again, first, strict=True)]
        assert max(differ) < 5, (name, differ)  # 256 colours, twice
    assert run("heatmaps", "out/recording.safetensors", "--out", "out", "--layers", "0").code == 0
    assert (tmp_path / "out" / "video.gif").read_bytes() == before["video.gif"]
    assert (tmp_path / "out" / "heatmap_house.gif").read_bytes() != before["heatmap_house.gif"]


def test_a_video_without_motion_keeps_its_frames(video: Any, run: Any, tmp_path: Path) -> None:
    grey = Image.new("RGB", (64, 48), "grey")
    save_animation([Image.new("RGB", (64, 48), "red"), *[grey] * 8], tmp_path / "still.gif", 8)
    assert video("analyze", "still.gif", *CONCEPTS, *SIZE, "--out", "out").code == 0
    assert run("heatmaps", "out/recording.safetensors", "--out", "again").code == 0
    assert len(frames(tmp_path / "again" / "video.gif")) == 9


@pytest.mark.parametrize(
    ("frames", "size", "message"),
    [
        (5, (64, 48), "other.gif has 5 frames, but the recorded video has 9."),
        (9, (48, 48), "other.gif is 48 x 48 pixels, but the recorded video is 64 x 48."),
    ],
)
def test_a_video_other_than_the_recorded_one_is_a_one_line_error(
    video: Any, run: Any, tmp_path: Path, frames: int, size: tuple[int, int], message: str
) -> None:
    assert video("generate", "a red house", *CONCEPTS, *SIZE, "--frames", "9", "--steps", "1", "--out", "out").code == 0
    images = [Image.new("RGB", size, (20 * n, 0, 0)) for n in range(frames)]
    save_animation(images, tmp_path / "other.gif", 8)
    output = run("heatmaps", "out/recording.safetensors", "--image", "other.gif", "--out", "again")
    assert (output.code, output.err) == (2, f"error: {message} Give the recording's video with --image.\n")
    assert not (tmp_path / "again").exists()


@pytest.mark.parametrize("form", ["gif", "folder"])
def test_an_existing_video_is_analyzed(video: Any, tmp_path: Path, form: str) -> None:
    images = [Image.fromarray(np.full((48, 64, 3), 25 * n, dtype=np.uint8)) for n in range(9)]
    source = tmp_path / ("clip.gif" if form == "gif" else "clip")
    if form == "gif":
        images[0].save(source, save_all=True, append_images=images[1:])
    else:
        source.mkdir()
        for number, one in enumerate(images):
            one.save(source / f"{number}.png")
    output = video("analyze", source, *CONCEPTS, *SIZE, "--out", "out")
    assert output.code == 0, output.err
    shown = frames(tmp_path / "out" / "video.gif")
    assert [round(float(one.mean())) for one in shown] == pytest.approx([25 * n for n in range(9)], abs=2)
    assert load_recording(tmp_path / "out" / "recording.safetensors").frame_counts == (1, 4, 4)


@pytest.mark.parametrize(
    "arguments, message",
    [
        (
            ["generate", "a house", "--frames", "10"],
            "error: The number of frames must be 8 n + 1, got 10. Try 9 or 17.",
        ),
        (
            ["analyze", "empty"],
            "error: Cannot read empty: the folder is empty. Give an image, or a folder with a video's frames.",
        ),
    ],
)
def test_an_impossible_video_is_a_one_line_error(
    video: Any, tmp_path: Path, arguments: list[str], message: str
) -> None:
    (tmp_path / "empty").mkdir()
    output = video(*arguments, *CONCEPTS, *SIZE, "--out", "out")
    assert (output.code, output.err.strip(), output.out) == (2, message, "")
    assert not (tmp_path / "out").exists()


def test_an_image_model_takes_neither_frames_nor_folders(run: Any, tmp_path: Path) -> None:
    (tmp_path / "clip").mkdir()
    Image.new("RGB", (64, 48)).save(tmp_path / "clip" / "0.png")
    output = run("analyze", "clip", *CONCEPTS, *SIZE, "--out", "out")
    assert output.err.startswith("error: clip is a folder, expected an image file: this is not a video model.")
    output = run("generate", "a house", *CONCEPTS, *SIZE, "--frames", "9", "--out", "out")
    assert output.err.startswith("error: This model makes images, not videos: 9 frames are not possible.")


def test_a_running_mean_has_one_step_and_the_same_heatmaps(video: Any, tmp_path: Path) -> None:
    made = ["generate", "a red house", *CONCEPTS, *SIZE, "--frames", "9", "--steps", "3"]
    assert video(*made, "--out", "every").code == 0
    assert video(*made, "--keep", "running mean", "--out", "mean").code == 0
    every, mean = (load_recording(tmp_path / name / "recording.safetensors") for name in ("every", "mean"))
    assert (len(every.steps), len(mean.steps), mean.averaged) == (3, 1, "share")
    assert np.allclose(make_heatmaps(mean).values, make_heatmaps(every).values, rtol=1e-5, atol=1e-6)
    assert (tmp_path / "every" / "video.gif").read_bytes() == (tmp_path / "mean" / "video.gif").read_bytes()
    output = video(*made, "--keep", "running mean", "--heatmap-steps", "1", "--out", "none")
    assert output.code == 2 and output.err.count("\n") == 1 and not (tmp_path / "none").exists()


def test_videos_are_written_and_read_as_mp4(video: Any, tmp_path: Path) -> None:
    pytest.importorskip("av", reason="needs PyAV: pip install av")
    sizes = [*SIZE, "--frames", "9", "--steps", "1"]
    made = video("generate", "a red house", *CONCEPTS, *sizes, "--video", "mp4", "--out", "out")
    assert made.code == 0, made.err
    assert "video.mp4" in made.out and "heatmap_*.mp4" in made.out and "mask_*.gif" in made.out
    folder = tmp_path / "out"
    listed = json.loads((folder / "summary.json").read_text(encoding="utf-8"))
    assert listed["files"]["video"] == "video.mp4"
    assert [one["files"] for one in listed["concepts"]] == [
        {"heatmap": f"heatmap_{name}.mp4", "mask": f"mask_{name}.gif"} for name in ("house", "tree", "sky")
    ]
    assert len(load_frames(folder / "overlay.mp4")) == 9
    again = video("heatmaps", "out", "--out", "out", "--video", "gif")
    assert again.code == 0, again.err
    assert (folder / "overlay.gif").exists() and not (folder / "overlay.mp4").exists()
    found = video("analyze", "out/video.gif", *CONCEPTS, *SIZE, "--video", "mov", "--out", "two")
    assert found.code == 0 and (tmp_path / "two" / "video.mov").exists(), found.err
    found = video("analyze", "two/video.mov", *CONCEPTS, *SIZE, "--out", "three")
    assert found.code == 0, found.err
    assert len(load_frames(tmp_path / "three" / "video.gif")) == 9
