"""Concepts in the preview that the host shows while it samples: over its own picture, at its own rate.

Follows `prepare_callback` and the previewers of latent_preview.py (0.19 to 0.33).
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from typing import Any, Protocol

import comfy.utils
from latent_preview import LatentPreviewer
from PIL import Image
from torch import Tensor

from ....concepts import Concept
from ....drawing.preview import StepPainter, shrink
from ....recording.builder import RecordingBuilder
from ....recording.shares import ShareRule
from ....selection import usual_layers
from .geometry import RunGeometry

_DECODE = "decode_latent_to_preview_image"
_FORMAT = "JPEG"  # the host's own

Callback = Callable[[int, Tensor, Tensor, int], Any]


class Recorded(Protocol):
    """What is looked at of a run: a `RecordingSession`."""

    builder: RecordingBuilder
    frame: RunGeometry | None


class LivePreview:
    """Draws what each step recorded into the host's preview of that step; steps that are not recorded stay as they are.

    The host's previewer is an object made for this run. It draws the concepts as well from `follow` to `release`. Where
    there is none, because the host's previews are turned off, the map alone is sent.

    Args:
        concepts: what was looked for.
        wanted: as of `StepPainter`.
        reading: of the run.
        kept: recorded layers.
        default: the architecture's default layers.
    """

    def __init__(
        self,
        concepts: Sequence[Concept],
        wanted: str,
        reading: ShareRule,
        kept: Sequence[int],
        default: Sequence[int],
    ) -> None:
        self._painter = StepPainter(concepts, wanted, reading)
        self._places = [kept.index(layer) for layer in usual_layers(kept, default)]
        self._previewer: Any = None
        self._step: tuple[tuple[Tensor, ...], RunGeometry] | None = None  # while a step is shown that was recorded

    def follow(self, callback: Callback | None, recorded: Recorded) -> Callback:
        """A callback to sample with, in place of the host's or None; `recorded` is up to date whenever it is called."""
        self._previewer = find_previewer(callback)
        if self._previewer is not None:
            decode = getattr(self._previewer, _DECODE)
            setattr(self._previewer, _DECODE, lambda kind, x0: self._over(decode(kind, x0)))
        committed = 0

        def shown(step: int, denoised: Tensor, x: Tensor, steps: int) -> Any:
            nonlocal committed
            fresh, committed = recorded.builder.committed > committed, recorded.builder.committed
            self._step = (recorded.builder.latest, recorded.frame) if fresh and recorded.frame else None
            result = None if callback is None else callback(step, denoised, x, steps)
            if self._previewer is None and self._step is not None:
                preview = _FORMAT, self._paint(*self._step), None
                comfy.utils.ProgressBar(steps).update_absolute(step + 1, steps, preview)
            return result

        return shown

    def release(self) -> None:
        """Leave the host's previewer as it was."""
        if self._previewer is not None:
            delattr(self._previewer, _DECODE)
        self._previewer = self._step = None

    def _over(self, preview: Any) -> Any:
        """What the host would show, (format, picture, size) or None, with the concepts in it."""
        if self._step is None or not isinstance(preview, tuple):  # other packs' previewers send theirs by themselves
            return preview
        kind, picture, size = preview
        return kind, self._paint(*self._step, shrink(picture, size)), size

    def _paint(self, latest: tuple[Tensor, ...], frame: RunGeometry, under: Image.Image | None = None) -> Image.Image:
        scores = tuple(part[self._places, 0] for part in latest)  # the host as well shows the first picture
        return self._painter.paint(scores, frame.grid[1:], frame.visible, under)


def find_previewer(callback: Any) -> Any | None:
    """The host's previewer that a callback draws with, also if other functions are wrapped around the host's."""
    waiting, seen = [callback], set()
    while waiting:
        function = waiting.pop()
        seen.add(function)
        for cell in getattr(function, "__closure__", None) or ():
            try:
                content = cell.cell_contents
            except ValueError:  # not set yet
                continue
            if isinstance(content, LatentPreviewer):
                return content
            if inspect.isfunction(content) and content not in seen:
                waiting.append(content)
    return None
