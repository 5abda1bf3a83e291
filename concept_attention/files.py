"""Files that appear complete or not at all. Arguments are always what to write, then where."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from uuid import uuid4

from PIL import Image


@contextmanager
def atomic_write(path: Path) -> Iterator[Path]:
    """A temporary path beside `path` (same suffix) that takes its place when the block ends well.

    After an exception, a KeyboardInterrupt included, the temporary file is gone and `path` is as it was.
    """
    temporary = path.with_name(f".{uuid4().hex[:12]}{path.suffix}")
    try:
        yield temporary
        os.replace(temporary, path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


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
    """Write a picture in the format of the path's suffix, atomically."""
    with atomic_write(path) as temporary:
        image.save(temporary)
