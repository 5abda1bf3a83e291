"""The route that makes an animation or a video of the viewer's drawings: browsers write no GIF, and few write MP4."""

from __future__ import annotations

import asyncio
import io
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from aiohttp import web
from PIL import Image

from ..concept_attention.errors import UserError
from ..concept_attention.files import save_animation

ROUTE = "/concept_attention/animation"
TYPES = {"gif": "image/gif", "webp": "image/webp", "mp4": "video/mp4"}
_FORMATS = ("PNG", "JPEG", "WEBP")  # that browsers write
_MOST_BYTES = 2 << 30  # of all frames, decoded


def add_route() -> None:
    """Let ComfyUI's server answer the viewer; where its nodes are used without a server, there is no viewer."""
    server = sys.modules.get("server")
    if instance := getattr(getattr(server, "PromptServer", None), "instance", None):
        instance.routes.post(ROUTE)(answer)


async def answer(request: web.Request) -> web.Response:
    """A form with the fields `format` (see `TYPES`), `milliseconds` (of each frame) and any number of images `frame`.

    The answer is the file, or status 400 and a sentence that says what is wrong.
    """
    form = await request.post()
    frames = [part.file.read() for part in form.getall("frame", []) if isinstance(part, web.FileField)]
    try:
        made = await asyncio.to_thread(
            make_animation, frames, str(form.get("format", "")), str(form.get("milliseconds", ""))
        )
    except UserError as error:
        return web.Response(status=400, text=str(error))
    return web.Response(body=made, content_type=TYPES[str(form["format"])])


def make_animation(frames: Sequence[bytes], suffix: str, milliseconds: str) -> bytes:
    """The file of an animation that loops forever, or of a video.

    Args:
        frames: image files of one size, at least one.
        suffix: one of `TYPES`.
        milliseconds: that each frame is shown, a positive number.

    Raises:
        UserError: for any other input, for frames that take over 2 GiB, and for an MP4 without PyAV.
    """
    if suffix not in TYPES:
        raise UserError(f"No animation has the format {suffix!r}. Use one of: {', '.join(TYPES)}.")
    if not milliseconds.isdecimal() or not int(milliseconds):
        raise UserError(f"A frame cannot last {milliseconds!r} milliseconds. Use a whole number above 0.")
    images = _opened(frames)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / f"animation.{suffix}"
        save_animation(images, path, 1000 / int(milliseconds))
        return path.read_bytes()


def _opened(frames: Sequence[bytes]) -> Sequence[Image.Image]:
    try:
        images = [Image.open(io.BytesIO(frame), formats=_FORMATS) for frame in frames]
        _check_sizes([image.size for image in images])
        for image in images:
            image.load()
    except UserError:
        raise
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:  # Pillow's, of damaged files
        raise UserError(f"A frame cannot be read as an image: {error}.") from error
    return images


def _check_sizes(sizes: Sequence[tuple[int, int]]) -> None:
    if len(set(sizes)) != 1:
        raise UserError(f"An animation needs frames of one size, got {len(sizes)} of {sorted(set(sizes))}.")
    width, height = sizes[0]
    if 3 * width * height * len(sizes) > _MOST_BYTES:
        raise UserError(
            f"{len(sizes)} frames of {width} x {height} pixels take over 2 GiB. Export with a smaller width."
        )
