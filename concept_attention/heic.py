"""HEIC images, which phones write, also under the name of a JPEG: Pillow cannot read them by itself."""

from __future__ import annotations

import io
from pathlib import Path

from PIL import Image

from .errors import UserError


def register_heif(source: str | Path | io.BytesIO, name: str) -> None:
    """Let Pillow read HEIC if a file, or its bytes, is in that format.

    Args:
        source: the file, or its bytes.
        name: for messages.

    Raises:
        UserError: if it is, and pillow-heif is not installed.
    """
    if "HEIF" in Image.OPEN or not _is_heif(source):
        return
    try:
        from pillow_heif import register_heif_opener  # only who has such files needs it
    except ImportError as error:
        raise UserError(
            f"{name} is a HEIC image, for which pillow-heif is needed. Install it: pip install pillow-heif. "
            "Or save the image as JPEG or PNG."
        ) from error
    register_heif_opener()


def _is_heif(source: str | Path | io.BytesIO) -> bool:
    """Whether a file begins as HEIC and HEIF do: a box of the type `ftyp`, with one of their brands."""
    if isinstance(source, io.BytesIO):
        head = bytes(source.getbuffer()[:12])
    else:
        try:
            with open(source, "rb") as file:
                head = file.read(12)
        except (OSError, ValueError):
            return False
    brands = (b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1")
    return head[4:8] == b"ftyp" and head[8:12] in brands
