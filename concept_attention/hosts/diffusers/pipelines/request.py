"""Defaults of a loaded pipeline, the request for one run of it, and the layout of its image tokens."""

from __future__ import annotations

import functools
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ....embedded import EMBEDDED, FOLDERS, SIZES, outside
from ....errors import UserError

TINY = "tiny"
logger = logging.getLogger("concept_attention")


@dataclass(frozen=True)
class Defaults:
    """What to run a model with if the user does not say.

    Attributes:
        side: pixels; images have about `side` squared.
        steps: sampler steps.
        guidance: distilled guidance, only read by models that embed it.
        cfg: classifier-free guidance scale, 1 is off.
        max_tokens: length that prompts and concepts are padded to.
        size: (height, width) in pixels of what the model was made for, if that is not square.
        frames: of a video; 1 in image models.
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
    """The request for one run of a pipeline; defaults are filled in.

    Attributes:
        negative_prompt: used where `cfg` is above 1; one for all prompts, or one for each.
        width, height: pixels.
        frames: of a video, 1 for an image.
        guidance: distilled guidance.
        cfg: classifier-free guidance scale, 1 is off.
    """

    negative_prompt: str | Sequence[str]
    width: int
    height: int
    frames: int
    guidance: float
    cfg: float

    def negative_prompts(self, batch: int) -> list[str]:
        """The negative prompt of each of `batch` prompts."""
        return [self.negative_prompt] * batch if isinstance(self.negative_prompt, str) else list(self.negative_prompt)


@dataclass(frozen=True)
class Layout:
    """The grid of the image tokens.

    Attributes:
        grid: (T, H, W), T is 1 for images.
        frame_counts: frames that each T of a video stands for; None if that is one each.
    """

    grid: tuple[int, int, int]
    frame_counts: tuple[int, ...] | None = None

    @property
    def tokens(self) -> int:
        frames, rows, columns = self.grid
        return frames * rows * columns


def check_side(name: str, pixels: int, unit: int) -> None:
    """Check the width or height of an image.

    Raises:
        UserError: if it is no positive multiple of `unit`, the side of a token.
    """
    if pixels < unit or pixels % unit:
        near = max(1, pixels // unit) * unit
        raise UserError(f"{name} must be a positive multiple of {unit}, got {pixels}. Try {near}.")


def is_tiny(pipeline: Any) -> bool:
    """Whether this is an embedded landscape model whose maps are taught."""
    return Path(_origin(pipeline)) in EMBEDDED.values()


def model_name(pipeline: Any) -> str:
    """What the user called the model: `tiny` or another embedded one, a folder, or a hub id.

    Empty if it was never loaded from anywhere.
    """
    origin = _origin(pipeline)
    return next((name for name, folder in FOLDERS.items() if folder == Path(origin)), origin)


def warn_outside_training(pipeline: Any, width: int, height: int, frames: int, noise: float = 0.0) -> None:
    """Log a warning if an embedded model is used beyond what it was trained on; see `outside`.

    The same warning is not repeated, as for every scene of an evaluation.
    """
    if model_name(pipeline) in SIZES and (caution := outside(model_name(pipeline), width, height, frames, noise)):
        _warn(caution)


@functools.lru_cache(maxsize=1)
def _warn(caution: str) -> None:
    logger.warning(caution)


def _origin(pipeline: Any) -> str:
    """Folder or hub id the pipeline was loaded from; one that was put together in memory has none."""
    modular = getattr(pipeline, "_pretrained_model_name_or_path", None)
    return str(getattr(pipeline, "config", {}).get("_name_or_path", modular or ""))
