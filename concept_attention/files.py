"""Atomic file writes. The first argument is what to write, the second is where."""

from __future__ import annotations

import contextlib
import json
import os
import re
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from uuid import uuid4

from PIL import Image

from .videos import WRITTEN, write_video

_TEMPORARY = re.compile(r"\.[0-9a-f]{12}\.concept-attention(\.[^.]*)?")
_STALE = 3600  # seconds without a change after which nobody writes to a temporary file any more


@contextmanager
def atomic_write(path: Path) -> Iterator[Path]:
    """Write a file atomically: yield a temporary path (same suffix) that replaces `path` if the block succeeds.

    After an exception, a KeyboardInterrupt included, the temporary file is gone and `path` is as it was. What a killed
    process left in the folder is removed by a later call.
    """
    temporary = path.with_name(f".{uuid4().hex[:12]}.concept-attention{path.suffix}")
    _clear_stale(path.parent)
    try:
        yield temporary
        os.replace(temporary, path)
    except BaseException as error:
        temporary.unlink(missing_ok=True)
        if isinstance(error, OSError) and error.errno and error.filename is None:
            error.filename = str(path)  # a full disk is reported without it
        raise


def _clear_stale(folder: Path) -> None:
    """Remove temporary files of `atomic_write` that killed processes left behind."""
    with contextlib.suppress(OSError), os.scandir(folder) as entries:
        for entry in entries:
            if _TEMPORARY.fullmatch(entry.name):
                with contextlib.suppress(OSError):  # another process was faster
                    if time.time() - entry.stat(follow_symlinks=False).st_mtime > _STALE:
                        os.unlink(entry.path)


def write_text(text: str, path: Path) -> None:
    """Write UTF-8 text with `\\n` line ends, atomically."""
    with atomic_write(path) as temporary:
        temporary.write_bytes(text.encode())


def write_json(data: Any, path: Path) -> None:
    """Write indented JSON, atomically.

    Raises:
        ValueError: for NaN and infinity, which JSON does not have; write None where there is no number.
    """
    write_text(json.dumps(data, ensure_ascii=False, indent=2, allow_nan=False) + "\n", path)


def save_image(image: Image.Image, path: Path) -> None:
    """Write an image in the format of the path's suffix, atomically."""
    with atomic_write(path) as temporary:
        image.save(temporary)


def save_animation(images: Sequence[Image.Image], path: Path, frame_rate: float) -> None:
    """Write images of one size as an animation that loops forever, or as a video, by the path's suffix, atomically.

    Args:
        images: at least one.
        path: a GIF, which has 256 colours per frame and merges equal neighbouring images into one that is shown for
            longer; another format of Pillow with several frames; or a video, MP4 or MOV.
        frame_rate: images per second; a GIF stores hundredths of a second.

    Raises:
        UserError: for a video, if PyAV is not installed.
    """
    first, *others = images
    with atomic_write(path) as temporary:
        if path.suffix.lower() in WRITTEN:
            write_video(images, temporary, frame_rate)
            return
        first.save(temporary, save_all=True, append_images=others, duration=round(1000 / frame_rate), loop=0)
