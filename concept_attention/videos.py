"""Video files, by PyAV: what ComfyUI reads and writes videos with, and FFmpeg's libraries come in its package."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from .errors import UserError

READ = (".mp4", ".mov", ".m4v", ".mkv", ".webm", ".avi")
WRITTEN = (".mp4", ".mov")
_MOST_BYTES = 4 << 30  # of the frames of a video as float32
_QUALITY = {"crf": "12"}  # of H.264: differences from the images are hardly visible


def is_video(path: str | Path) -> bool:
    """Whether a file is a video by its suffix, which Pillow cannot read."""
    return Path(path).suffix.lower() in READ


def read_video(path: str | Path) -> tuple[list[Tensor], float]:
    """Read all frames of a video file.

    Returns:
        Images (H, W, 3) float32, 0-1, upright, and how many there are per second.

    Raises:
        UserError: the file is missing, damaged, no video, or so long that its frames would take over 4 GiB; PyAV is not
            installed.
    """
    av = _pyav(path)
    if not Path(path).is_file():
        raise UserError(f"Cannot read {path}: there is no such file.")
    try:
        with av.open(str(path)) as container:
            if not container.streams.video:
                raise UserError(f"Cannot read {path}: it has no video. Give another file.")
            stream = container.streams.video[0]
            stream.thread_type = "AUTO"
            rate = float(stream.average_rate or stream.guessed_rate or 1)
            frames: list[Tensor] = []
            for frame in container.decode(stream):
                pixels = frame.to_ndarray(format="rgb24")
                upright = np.rot90(pixels, getattr(frame, "rotation", 0) // 90)
                frames.append(torch.from_numpy(upright.astype(np.float32) / 255))
                if len(frames) * frames[0].nbytes > _MOST_BYTES:
                    raise UserError(
                        f"Cannot read {path}: over {len(frames)} frames of {pixels.shape[1]} x {pixels.shape[0]} do "
                        "not fit into 4 GiB. Cut the video, or make it smaller."
                    )
    except av.FFmpegError as error:
        raise UserError(f"Cannot read {path} as a video: {error.strerror or error}. Check the file.") from error
    if not frames:
        raise UserError(f"Cannot read {path}: it has no frames. Give another file.")
    return frames, rate


def write_video(images: Sequence[Image.Image], path: Path, frame_rate: float) -> None:
    """Write images of one size as a video in H.264; not atomic, see `save_animation`.

    Args:
        images: at least one. Of an odd width or height, which the format does not have, the last pixels are repeated.
        path: its suffix is one of `WRITTEN`.
        frame_rate: images per second.

    Raises:
        UserError: PyAV is not installed.
        OSError: the file cannot be written.
    """
    av = _pyav(path)
    width, height = images[0].size
    odd = ((0, height % 2), (0, width % 2), (0, 0))
    try:
        with av.open(str(path), "w", format=path.suffix.lower().removeprefix(".")) as container:
            codec = "libx264" if "libx264" in av.codecs_available else "mpeg4"
            stream = container.add_stream(codec, rate=Fraction(frame_rate).limit_denominator(1001))
            stream.width, stream.height, stream.pix_fmt = width + width % 2, height + height % 2, "yuv420p"
            stream.options = _QUALITY
            for image in images:
                pixels = np.pad(np.asarray(image.convert("RGB")), odd, mode="edge")
                container.mux(stream.encode(av.VideoFrame.from_ndarray(pixels, format="rgb24")))
            container.mux(stream.encode())
    except av.FFmpegError as error:  # a full disk, for one
        raise OSError(error.errno, error.strerror) from error


def _pyav(path: str | Path) -> Any:
    try:
        import av  # only who has videos needs it
    except ImportError as error:
        raise UserError(
            f"{path} is a video, for which PyAV is needed. Install it: pip install av. Or use a GIF."
        ) from error
    return av
