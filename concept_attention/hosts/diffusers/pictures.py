"""Images and videos as callers give them: paths, Pillow images, arrays and tensors; and as models get them."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from ...errors import UserError
from ...images import from_pil, load_frames, load_image, to_pil

Picture = str | os.PathLike[str] | Image.Image | np.ndarray | Tensor


def as_images(given: Picture | Sequence[Picture], video: bool) -> list[Image.Image]:
    """8-bit RGB images from whatever holds images.

    Args:
        given: an image, several, or a batch: a path, a Pillow image, an array or a tensor. Arrays and tensors are
            (H, W, 3) or (B, H, W, 3), or with alpha in a fourth channel: float 0-1, or uint8 0-255; an array (H, W) is
            grey.
        video: whether the model makes videos: an animation, or a folder of images, is then all of its frames; else an
            animation is its first.

    Raises:
        UserError: for anything else, and as `load_image` and `from_pil`.
    """
    if isinstance(given, (list, tuple)):
        return [image for one in given for image in _images(one, video)]
    return list(_images(given, video))


def _images(given: Any, video: bool) -> Iterator[Image.Image]:
    if isinstance(given, (str, os.PathLike)):
        path = os.fspath(given)
        yield from map(to_pil, load_frames(path) if video else [load_image(path)])
    elif isinstance(given, Image.Image):
        yield to_pil(from_pil(given))
    elif isinstance(given, (np.ndarray, Tensor)):
        array = _as_array(given)
        yield from map(_from_array, array if array.ndim == 4 else [array])
    else:
        raise UserError(
            f"An image is a path, a Pillow image, an array or a tensor, got {type(given).__name__}. Give one of these."
        )


def _as_array(given: np.ndarray | Tensor) -> np.ndarray:
    if isinstance(given, np.ndarray):
        return given
    given = given.detach().cpu()
    return (given.float() if given.is_floating_point() else given).numpy()  # numpy has no bfloat16


def _from_array(array: np.ndarray) -> Image.Image:
    shape = array.shape
    fits = array.size and (array.ndim == 2 or (array.ndim == 3 and shape[-1] in (1, 3, 4)))
    if not fits or (array.dtype != np.uint8 and array.dtype.kind != "f"):
        raise UserError(
            f"An image as an array is (height, width, 3), float 0-1 or uint8 0-255; got {shape} of {array.dtype}. "
            "Move the channels to the end, and convert the numbers."
        )
    grey = array.ndim == 2 or shape[-1] == 1
    array = array.reshape(shape[:2]) if grey else array
    if array.dtype != np.uint8:
        low, high = float(np.min(array)), float(np.max(array))
        if not (low >= -0.01 and high <= 1.01):
            raise UserError(f"A float image holds 0 to 1, got {low:g} to {high:g}. Scale it first.")
        array = (array.clip(0, 1) * 255).round().astype(np.uint8)
    return to_pil(from_pil(Image.fromarray(array)))


def scaled(images: Sequence[Image.Image], width: int, height: int) -> Tensor:
    """RGB images at the size that the model gets, (B, 3, H, W) float32, -1 to 1."""
    arrays = [np.asarray(one.resize((width, height), Image.Resampling.LANCZOS)) for one in images]
    return torch.from_numpy(np.stack(arrays)).permute(0, 3, 1, 2).float() / 127.5 - 1
