"""Animations of the viewer's drawings: every frame for its time, in each format, and what is refused."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageSequence

from concept_attention.videos import read_video

from .conftest import Pack

COLOURS = ((200, 40, 40), (40, 200, 40), (40, 40, 200))
MILLISECONDS = 200


def frame(colour: tuple[int, int, int], size: tuple[int, int] = (32, 24)) -> bytes:
    file = io.BytesIO()
    Image.new("RGB", size, colour).save(file, "PNG")
    return file.getvalue()


@pytest.mark.parametrize("suffix", ["gif", "webp"])
def test_an_animation_shows_every_frame_for_its_time(pack: Pack, suffix: str) -> None:
    made = pack.module("nodes.animations").make_animation([frame(colour) for colour in COLOURS], suffix, "200")
    with Image.open(io.BytesIO(made)) as moving:
        assert (moving.format, moving.size, moving.info["loop"]) == (suffix.upper(), (32, 24), 0)
        frames = [(np.asarray(one.convert("RGB")), one.info["duration"]) for one in ImageSequence.Iterator(moving)]
    assert [duration for _, duration in frames] == 3 * [MILLISECONDS]
    for (pixels, _), colour in zip(frames, COLOURS, strict=True):
        assert np.abs(pixels.astype(int) - colour).max() <= 8


def test_a_video_shows_every_frame_for_its_time(pack: Pack, tmp_path: Path) -> None:
    path = tmp_path / "made.mp4"
    path.write_bytes(pack.module("nodes.animations").make_animation([*map(frame, COLOURS)], "mp4", "200"))
    frames, rate = read_video(path)
    assert rate == pytest.approx(1000 / MILLISECONDS)
    for pixels, colour in zip(frames, COLOURS, strict=True):
        assert np.abs(255 * pixels.numpy() - colour).max() <= 8


@pytest.mark.parametrize(
    ("frames", "suffix", "milliseconds", "says"),
    [
        ([frame(COLOURS[0])], "avi", "200", "gif, webp, mp4"),
        ([frame(COLOURS[0])], "gif", "0", "above 0"),
        ([frame(COLOURS[0])], "gif", "1.5", "whole number"),
        ([], "gif", "200", "got 0"),
        ([frame(COLOURS[0]), frame(COLOURS[1], (24, 32))], "gif", "200", "one size"),
        ([b"no image"], "gif", "200", "cannot be read"),
        ([frame(COLOURS[0])[:60]], "gif", "200", "cannot be read"),
        ([b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n"], "gif", "200", "cannot be read"),  # for Ghostscript
        (180 * [frame(COLOURS[0], (2000, 2000))], "gif", "200", "smaller width"),
    ],
)
def test_what_makes_no_animation_is_refused(
    pack: Pack, frames: list[bytes], suffix: str, milliseconds: str, says: str
) -> None:
    with pytest.raises(ValueError, match=says):
        pack.module("nodes.animations").make_animation(frames, suffix, milliseconds)
