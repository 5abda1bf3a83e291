"""What is known of a loaded pipeline, and what one run of it is asked for."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ....embedded import EMBEDDED

TINY = "tiny"


@dataclass(frozen=True)
class Defaults:
    """What a model is best run with where the user says nothing.

    Attributes:
        side: pixels; pictures have about `side` squared.
        steps: sampler steps.
        guidance: distilled guidance, only read by models that embed it.
        cfg: classifier-free guidance scale, 1 is off.
        max_tokens: length that prompts and concepts are padded to.
        size: (height, width) in pixels of what the model was made for, where that is no square.
        frames: of a video; 1 in models of pictures.
        frame_rate: frames per second of a video.
    """

    side: int
    steps: int
    guidance: float
    cfg: float
    max_tokens: int
    size: tuple[int, int] | None = None
    frames: int = 1
    frame_rate: float = 8.0

    @property
    def height(self) -> int:
        return self.size[0] if self.size else self.side

    @property
    def width(self) -> int:
        return self.size[1] if self.size else self.side


@dataclass(frozen=True)
class Request:
    """What one run of a pipeline is asked for; defaults are filled in.

    Attributes:
        negative_prompt: used where `cfg` is above 1.
        width, height: pixels.
        frames: of a video, 1 for a picture.
        guidance: distilled guidance.
        cfg: classifier-free guidance scale, 1 is off.
    """

    negative_prompt: str
    width: int
    height: int
    frames: int
    guidance: float
    cfg: float


@dataclass(frozen=True)
class Layout:
    """Where the image tokens lie.

    Attributes:
        grid: (T, H, W), T is 1 for pictures.
        frame_counts: picture frames that each T of a video stands for; None where that is one each.
    """

    grid: tuple[int, int, int]
    frame_counts: tuple[int, ...] | None = None

    @property
    def tokens(self) -> int:
        frames, rows, columns = self.grid
        return frames * rows * columns


def is_tiny(pipeline: Any) -> bool:
    """Whether this is an embedded landscape model."""
    return Path(_origin(pipeline)) in EMBEDDED.values()


def model_name(pipeline: Any) -> str:
    """What the user called the model: `tiny` or another embedded one, a folder, or a hub id.

    Empty if it was never loaded from anywhere.
    """
    origin = _origin(pipeline)
    return next((name for name, folder in EMBEDDED.items() if folder == Path(origin)), origin)


def _origin(pipeline: Any) -> str:
    """Folder or hub id the pipeline was loaded from; one that was put together in memory has none."""
    return str(pipeline.config.get("_name_or_path", ""))
