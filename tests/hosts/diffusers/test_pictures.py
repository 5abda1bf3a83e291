"""Images as callers give them become 8-bit RGB images with the right pixels, or one clear line."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from concept_attention.errors import UserError
from concept_attention.hosts.diffusers.pictures import as_images

PIXELS = np.random.default_rng(0).integers(0, 256, (4, 6, 3), dtype=np.uint8)
GREY = PIXELS[..., 0]


@pytest.mark.parametrize(
    "given",
    [
        Image.fromarray(PIXELS),
        PIXELS,
        PIXELS / 255,
        (PIXELS / 255).astype(np.float32),
        torch.from_numpy(PIXELS),
        torch.from_numpy(PIXELS / 255).requires_grad_(),
        np.dstack([PIXELS, np.full((4, 6), 255, np.uint8)]),
        PIXELS[None],
        [PIXELS],
        (Image.fromarray(PIXELS),),
    ],
)
def test_every_kind_has_the_same_pixels(given: Any) -> None:
    (image,) = as_images(given, video=False)
    assert image.mode == "RGB" and np.array_equal(np.asarray(image), PIXELS)


@pytest.mark.parametrize("given", [GREY, GREY / 255, GREY[..., None]])
def test_grey_arrays_are_grey_images(given: Any) -> None:
    (image,) = as_images(given, video=False)
    assert image.mode == "RGB" and np.array_equal(np.asarray(image), np.repeat(GREY[..., None], 3, axis=-1))


def test_a_batch_is_several_images() -> None:
    several = torch.from_numpy(np.stack([PIXELS, 255 - PIXELS]) / 255)
    for given in (several, [several[0], 255 - PIXELS]):
        first, second = as_images(given, video=False)
        assert np.array_equal(first, PIXELS) and np.array_equal(second, 255 - PIXELS)
    assert as_images([], video=False) == []


def test_a_path_is_an_image_or_a_video(tmp_path: Path) -> None:
    frames = [Image.fromarray(one).quantize(64) for one in (PIXELS, 255 - PIXELS)]
    frames[0].save(tmp_path / "clip.gif", save_all=True, append_images=frames[1:], duration=100)
    assert len(as_images(tmp_path / "clip.gif", video=False)) == 1
    assert len(as_images(str(tmp_path / "clip.gif"), video=True)) == 2
    with pytest.raises(UserError, match="^Cannot read .*none.png"):
        as_images(tmp_path / "none.png", video=False)


@pytest.mark.parametrize(
    "given, message",
    [
        (None, r"^An image is a path, a Pillow image, an array or a tensor, got NoneType\."),
        ([3], r"^An image is a path, a Pillow image, an array or a tensor, got int\."),
        (PIXELS.transpose(2, 0, 1), r"^An image as an array is \(height, width, 3\).*got \(3, 4, 6\) of uint8"),
        (PIXELS.astype(int), r"^An image as an array is .*got \(4, 6, 3\) of int64"),
        (torch.zeros(0, 6, 3), r"^An image as an array is .*got \(0, 6, 3\)"),
        (PIXELS.astype(float), r"^A float image holds 0 to 1, got 0 to 255|^A float image holds 0 to 1, got "),
        (PIXELS / 127.5 - 1, r"^A float image holds 0 to 1, got -"),
        (np.full((4, 6, 3), np.nan), r"^A float image holds 0 to 1, got nan"),
    ],
)
def test_what_is_no_image_is_refused(given: Any, message: str) -> None:
    with pytest.raises(UserError, match=message):
        as_images(given, video=False)
