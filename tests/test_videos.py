"""Video files: what is written is read again, phone videos are upright, and errors are one line."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from concept_attention import videos
from concept_attention.errors import UserError
from concept_attention.files import save_animation
from concept_attention.images import frame_times, load_frames, load_image, read_image
from concept_attention.videos import read_video

pytest.importorskip("av", reason="needs PyAV: pip install av")


def clip(width: int = 64, height: int = 48, frames: int = 9) -> list[Image.Image]:
    """A square that moves over a smooth ground."""
    rows, columns = np.mgrid[:height, :width]
    ground = np.stack([255 * columns // width, 255 * rows // height, np.full_like(rows, 90)], axis=-1)
    made = []
    for index in range(frames):
        pixels = ground.astype(np.uint8)
        pixels[8:24, 4 * index : 4 * index + 16] = (200, 40, 40)
        made.append(Image.fromarray(pixels))
    return made


@pytest.mark.parametrize("suffix", [".mp4", ".mov", ".MP4"])
def test_what_is_written_is_read_again(tmp_path: Path, suffix: str) -> None:
    file = tmp_path / f"clip{suffix}"
    save_animation(clip(), file, 8)
    frames = load_frames(file)
    assert len(frames) == 9 and {tuple(one.shape) for one in frames} == {(48, 64, 3)}
    for frame, image in zip(frames, clip(), strict=True):
        difference = np.abs(255 * frame.numpy() - np.asarray(image, dtype=float))
        assert difference.mean() < 4  # of 255: colours have half the resolution in H.264
    assert frame_times(file) == pytest.approx([1 / 8] * 9)
    assert [one.name for one in tmp_path.iterdir()] == [file.name]


def test_an_odd_side_is_padded_with_its_last_pixels(tmp_path: Path) -> None:
    file = tmp_path / "odd.mp4"
    save_animation(clip(63, 47, 3), file, 8)
    frames, rate = read_video(file)
    assert frames[0].shape == (48, 64, 3) and rate == 8
    assert (frames[0][:, 63] - frames[0][:, 62]).abs().max() < 0.1


@pytest.mark.parametrize("turned", [90, 180, 270])
def test_a_turned_video_is_read_upright(tmp_path: Path, turned: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """As players show it; the tag itself is PyAV's to read."""
    import av

    file = tmp_path / "turned.mp4"
    sideways = [image.rotate(-turned, expand=True) for image in clip(frames=2)]
    save_animation(sideways, file, 8)

    class Turned:
        """A frame with a tag."""

        def __init__(self, frame: av.VideoFrame) -> None:
            self._frame, self.rotation = frame, turned

        def to_ndarray(self, format: str) -> np.ndarray:
            return self._frame.to_ndarray(format=format)

    opened = av.open

    class Container:
        def __init__(self, name: str) -> None:
            self._container = opened(name)
            self.streams = self._container.streams

        def __enter__(self) -> Container:
            return self

        def __exit__(self, *error: object) -> None:
            self._container.close()

        def decode(self, stream: av.VideoStream) -> list[Turned]:
            return [Turned(frame) for frame in self._container.decode(stream)]

    monkeypatch.setattr(av, "open", Container)
    frames, _ = read_video(file)
    expected = np.asarray(clip(frames=1)[0], dtype=float)
    assert np.abs(255 * frames[0].numpy() - expected).mean() < 4


def test_files_that_cannot_be_read_are_one_line(tmp_path: Path) -> None:
    damaged = tmp_path / "damaged.mp4"
    damaged.write_bytes(b"0" * 500)
    with pytest.raises(UserError, match=r"^Cannot read .*damaged\.mp4 as a video: .*\. Check the file\.$"):
        load_frames(damaged)
    with pytest.raises(UserError, match=r"^Cannot read .*none\.mov: there is no such file\.$"):
        load_frames(tmp_path / "none.mov")


def test_a_file_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    with pytest.raises(OSError) as caught:
        save_animation(clip(), tmp_path / "none" / "clip.mp4", 8)
    assert caught.value.filename == str(tmp_path / "none" / "clip.mp4") and "No such file" in str(caught.value)


def test_a_video_that_is_too_long_is_refused_while_it_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    save_animation(clip(), tmp_path / "long.mp4", 8)
    monkeypatch.setattr(videos, "_MOST_BYTES", 3 * 64 * 48 * 3 * 4)
    with pytest.raises(UserError, match=r"over 4 frames of 64 x 48 do not fit .* Cut the video, or make it smaller\.$"):
        load_frames(tmp_path / "long.mp4")


def test_without_the_library_the_error_names_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    save_animation(clip(), tmp_path / "clip.mp4", 8)
    monkeypatch.setitem(sys.modules, "av", None)
    for call in (lambda: load_frames(tmp_path / "clip.mp4"), lambda: save_animation(clip(), tmp_path / "b.mp4", 8)):
        with pytest.raises(UserError, match=r"is a video, for which PyAV is needed\. Install it: pip install av\."):
            call()
    assert [one.name for one in tmp_path.iterdir()] == ["clip.mp4"]


@pytest.mark.parametrize("brand", [b"heic", b"mif1"])
def test_a_heic_image_names_the_library_it_needs(tmp_path: Path, brand: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "IMG_0001.jpg"  # as some phones name it
    file.write_bytes(b"\0\0\0\x18ftyp" + brand + bytes(40))
    monkeypatch.setitem(sys.modules, "pillow_heif", None)
    monkeypatch.delitem(Image.OPEN, "HEIF", raising=False)
    for read in (lambda: load_image(file), lambda: read_image(file.read_bytes(), file.name)):
        with pytest.raises(UserError, match=r"IMG_0001\.jpg is a HEIC image, .* Install it: pip install pillow-heif"):
            read()


def test_a_heic_image_is_read(tmp_path: Path) -> None:
    heif = pytest.importorskip("pillow_heif", reason="needs pillow-heif: pip install pillow-heif")
    heif.from_pillow(clip(frames=1)[0]).save(tmp_path / "photo.heic", quality=95)
    found = load_image(tmp_path / "photo.heic")
    assert found.shape == (48, 64, 3)
    assert (found - torch.from_numpy(np.asarray(clip(frames=1)[0]) / 255)).abs().mean() < 0.03
