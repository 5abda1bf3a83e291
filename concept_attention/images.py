"""Conversion and loading of images: Pillow images and files to (H, W, 3) float32 tensors in [0, 1], and back."""

from __future__ import annotations

import io
import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import numpy as np
import torch
from PIL import ExifTags, Image, ImageOps, ImageSequence, UnidentifiedImageError
from torch import Tensor

from .errors import UserError
from .heic import register_heif
from .videos import is_video, read_video

# What is read: formats of pictures that Pillow decodes itself. EPS, for one, would start Ghostscript.
FORMATS = (
    "AVIF", "BMP", "DIB", "GIF", "HEIF", "ICO", "JPEG", "JPEG2000", "PCX", "PNG", "PPM", "PSD", "QOI", "SGI", "TGA",
    "TIFF", "WEBP",
)  # fmt: skip
# Formats whose first frame every program reads alike; MPO is a JPEG with more of them behind it, as phones write it.
_PLAIN = {"JPEG": ".jpg", "MPO": ".jpg", "PNG": ".png", "WEBP": ".webp"}
MOST_PIXELS = 89_478_485  # of a picture among many: Pillow warns of a decompression bomb from here on
_DEEP_GREY = ("I", "I;16", "I;16L", "I;16B", "I;16N")  # a 16-bit grey file opens in one of these


def check_image(image: Tensor) -> Tensor:
    """Return one image as float32 on the CPU, itself if it is that already, or say what is wrong with it.

    Args:
        image: (H, W, 3) float of any precision, 0-1 (a little outside is clamped).

    Raises:
        UserError: values that are not finite.
        ValueError: another shape or dtype, or an empty image.
    """
    if image.ndim != 3 or image.shape[-1] != 3 or image.numel() == 0:
        raise ValueError(
            f"An image must be one (height, width, 3) tensor, got {tuple(image.shape)}. "
            "Take one image of a batch with `images[0]` and drop alpha with `image[..., :3]`."
        )
    if not image.is_floating_point():
        raise ValueError(f"An image must be float in [0, 1], got {image.dtype}. Divide 8-bit values by 255.")
    image = image.detach().to("cpu", torch.float32)
    low, high = (float(limit) for limit in image.aminmax())  # one pass; nan is the least and the greatest
    if not (math.isfinite(low) and math.isfinite(high)):
        raise UserError("An image must hold finite numbers, got NaN or infinity. Check what produced it.")
    return image if low >= 0 and high <= 1 else image.clamp(0, 1)


def png_bytes(pixels: np.ndarray | Image.Image) -> bytes:
    """An image, or its pixels (H, W) or (H, W, 3) uint8, as a PNG file."""
    image = pixels if isinstance(pixels, Image.Image) else Image.fromarray(pixels)
    file = io.BytesIO()
    image.save(file, "PNG")
    return file.getvalue()


def check_aspect(image_size: tuple[int, int], map_size: tuple[int, int]) -> None:
    """Check that maps have the aspect ratio of the image, to 2 % or to rounding to whole tokens.

    Raises:
        UserError: for a different aspect ratio.
    """
    (height, width), (rows, columns) = image_size, map_size
    difference = abs(width * rows - height * columns)
    if difference > max(0.02 * width * rows, 0.5 * max(height, width, rows, columns)):
        raise UserError(
            f"The image is {width} x {height} (width x height) but the heatmaps are {columns} x {rows}, "
            "a different aspect ratio. Give the image they were recorded for."
        )


def to_pil(tensor: Tensor) -> Image.Image:
    """Turn a tensor into an 8-bit Pillow image.

    Args:
        tensor: an image (H, W, 3), or a mask or heatmap (H, W); float, 0-1.

    Returns:
        Mode "RGB" for an image, "L" for a map. Values are clamped and rounded to the nearest of 256 levels.

    Raises:
        UserError, ValueError: as `check_image`.
    """
    grey = tensor.ndim == 2
    rgb = check_image(tensor[..., None].expand(-1, -1, 3) if grey else tensor)
    levels = (rgb * 255).round().to(torch.uint8).numpy()
    return Image.fromarray(levels[..., 0].copy() if grey else levels)


def from_pil(image: Image.Image) -> Tensor:
    """Turn any Pillow image into an image tensor.

    The camera's orientation tag is applied, transparency is composited on white, 16-bit grey keeps its
    precision, palette, grey, CMYK and other modes are converted; of an animation the current frame is taken.

    Args:
        image: any mode Pillow can open; mode "F" must hold 0-1, mode "I" 0-65535.

    Returns:
        (H, W, 3) float32, 0-1, RGB, CPU.

    Raises:
        UserError: values outside the range of their mode, or a mode Pillow cannot convert to RGB.
    """
    image = ImageOps.exif_transpose(image)
    if image.mode in _DEEP_GREY or image.mode == "F":
        grey = _deep_grey(image)
        return torch.from_numpy(np.repeat(grey[..., None], 3, axis=-1))
    transparent = image.mode in ("RGBA", "LA", "PA", "RGBa", "La") or "transparency" in image.info
    try:
        pixels = np.array(image.convert("RGBA" if transparent else "RGB"), dtype=np.float32) / 255
    except ValueError as error:
        raise UserError(f"Cannot convert an image of mode {image.mode} to RGB. Save it as an RGB PNG first.") from error
    if transparent:
        colour, alpha = pixels[..., :3], pixels[..., 3:]
        pixels = colour * alpha + (1 - alpha)  # on white
    return torch.from_numpy(pixels)


def _deep_grey(image: Image.Image) -> np.ndarray:
    """(H, W) float32 in [0, 1] of a grey image with more than 8 bits."""
    values = np.asarray(image)
    top = 1.0 if values.dtype.kind == "f" else 65535.0
    values = values.astype(np.float32)  # exact for every integer up to 2^24
    if not (np.isfinite(values).all() and values.min() >= 0 and values.max() <= top):
        raise UserError(
            f"A grey image of mode {image.mode} must hold values from 0 to {top:g}, got "
            f"{values.min():g} to {values.max():g}. Scale it first."
        )
    return values / np.float32(top)


def load_image(path: str | Path) -> Tensor:
    """Read an image file, or the first frame of an animation; see `from_pil` for what is converted and returned.

    Raises:
        UserError: the file is missing, empty, damaged, too large or not an image of `FORMATS`; for HEIC, if pillow-heif
            is not installed.
    """
    with _opened(path) as image:
        return from_pil(image)


def load_transparency(path: str | Path) -> Tensor:
    """Read how transparent the pixels of an image file are.

    Returns:
        (H, W) float32: 0 where the image is opaque, 1 where it is transparent.

    Raises:
        UserError: as `load_image`.
    """
    with _opened(path) as image:
        alpha = np.asarray(image.convert("RGBA"), dtype=np.float32)[..., 3]
    return 1 - torch.from_numpy(alpha) / 255


@dataclass(frozen=True)
class ImageFile:
    """An image file that was read from memory.

    Attributes:
        image: 8-bit RGB, upright.
        suffix: of a file with these bytes, such as `.jpg`; None if another program may read other pixels from them:
            transparency, an orientation tag, more than 8 bits, several frames, or a format that few know.
    """

    image: Image.Image
    suffix: str | None


def read_image(data: bytes, name: str, most_pixels: int = MOST_PIXELS) -> ImageFile:
    """Read the bytes of an image file: the pixels of `to_pil(load_image(...))`, in 8 bits from the beginning.

    Args:
        data: of the file.
        name: of the file, for messages.
        most_pixels: that the image may have; looked up before they are decoded.

    Raises:
        UserError: as `load_image`; for more pixels.
    """
    if not data:
        raise UserError(f"Cannot read {name}: the file is empty. Get it again.")
    with _opened(io.BytesIO(data), name, most_pixels) as image:
        kind, frames = image.format or "", getattr(image, "n_frames", 1)
        upright = image.getexif().get(ExifTags.Base.Orientation, 1) == 1
        if upright and image.mode in ("RGB", "L") and "transparency" not in image.info:
            return ImageFile(image.convert("RGB"), _PLAIN.get(kind) if frames == 1 or kind == "MPO" else None)
        return ImageFile(to_pil(from_pil(image)), None)


def load_frames(path: str | Path) -> list[Tensor]:
    """Read the frames of an animation, of a video, or of a folder with one image file for each, by their names' order.

    Returns:
        Images as `load_image` returns them; a single one for a still image. Files merge equal neighbouring frames into
        one that is shown for longer: a frame shown n times as long as the shortest is returned n times.

    Raises:
        UserError: as `load_image` and `read_video`; for a folder without files.
    """
    if is_video(path):
        return read_video(path)[0]
    if not Path(path).is_dir():
        with _opened(path) as image:
            frames = [(from_pil(frame), _time(frame)) for frame in _frames(image)]
        times = _usable([time for _, time in frames])
        shortest = min(times)
        return [frame for (frame, _), time in zip(frames, times, strict=True) for _ in range(round(time / shortest))]
    files = sorted(one for one in Path(path).iterdir() if one.is_file() and not one.name.startswith("."))
    if not files:
        raise UserError(f"Cannot read {path}: the folder is empty. Give an image, or a folder with a video's frames.")
    return [load_image(file) for file in files]


def frame_times(path: str | Path) -> list[float]:
    """Duration of every frame of an animation or a video in seconds; 1 each if the file gives none.

    Raises:
        UserError: as `load_image` and `read_video`.
    """
    if is_video(path):
        frames, rate = read_video(path)
        return [1 / rate] * len(frames)
    with _opened(path) as image:
        return _usable([_time(frame) for frame in _frames(image)])


def _is_pipe_or_device(path: Path) -> bool:
    return path.exists() and not path.is_file() and not path.is_dir()


def _frames(image: Image.Image) -> Iterator[Image.Image]:
    """Every frame of the animation, read from the file; an image shown instead of it is left out."""
    instead = bool(image.info.get("default_image")) and getattr(image, "n_frames", 1) > 1
    for frame in islice(ImageSequence.Iterator(image), int(instead), None):
        frame.load()  # not before this do some formats know how long it is shown
        yield frame


def _time(frame: Image.Image) -> float:
    """Seconds that the frame at hand is shown; 0 if the file does not say."""
    return float(frame.info.get("duration") or 0) / 1000


def _usable(times: list[float]) -> list[float]:
    return times if min(times) > 0 else [1.0] * len(times)


@contextmanager
def _opened(
    source: str | Path | io.BytesIO, name: str | Path | None = None, most_pixels: int | None = None
) -> Iterator[Image.Image]:
    """An open image file, its first frame read. The block must do nothing else than read it.

    Args:
        source: the file, or its bytes.
        name: of the bytes, for messages.
        most_pixels: that the image may have.
    """
    path = source if name is None else name
    if not isinstance(source, io.BytesIO) and _is_pipe_or_device(Path(source)):
        raise UserError(f"Cannot read {path}: not a file, but a pipe or a device. Save the image to a file first.")
    Image.init()
    register_heif(source, str(path))
    formats = [one for one in FORMATS if one in Image.OPEN]
    try:
        with Image.open(source, formats=formats) as image:
            if most_pixels is not None and image.width * image.height > most_pixels:
                raise UserError(
                    f"Cannot read {path}: it has {image.width} x {image.height} pixels, expected at most "
                    f"{most_pixels:,}. Make it smaller first."
                )
            image.load()
            yield image
    except (UserError, MemoryError):
        raise
    except UnidentifiedImageError as error:
        raise UserError(f"Cannot read {path}: not an image. Give a PNG, JPEG or the like.") from error
    except Exception as error:  # Pillow's readers raise anything on damaged files
        reason = " ".join(str(error).split()).rstrip(".") or type(error).__name__
        raise UserError(f"Cannot read {path} as an image: {reason}. Check the file.") from error
