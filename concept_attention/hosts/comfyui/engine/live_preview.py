"""Concepts in ComfyUI's own previews during sampling, drawn over the preview image.

Follows `prepare_callback` and the previewers of latent_preview.py (0.19 to 0.33).
"""

from __future__ import annotations

import functools
import inspect
import logging
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import comfy.utils
import torch
from latent_preview import LatentPreviewer
from PIL import Image
from torch import Tensor

from ....concepts import Concept
from ....drawing.preview import REGIONS, StepPainter, paint_mask, shrink
from ....recording.shares import ShareRule
from ....selection import usual_layers
from ..guard import guarded
from .session import RecordingSession

logger = logging.getLogger("concept_attention")

_DECODE = "decode_latent_to_preview_image"
_FORMAT = "JPEG"  # the host's own

Masks = Callable[[], Mapping[str, Tensor]]  # of the regions so far, see `ActingRun`
Paint = Callable[[Image.Image | None], Image.Image]  # over an image, or alone
StepCallback = Callable[[int, Tensor, Tensor, int], Any]  # (step, x0, x, steps), after each sampler step


class LivePreview:
    """Draws the concepts of each recorded step into the host's preview of that step; other steps stay as they are.

    The regions, if these are to be shown, are drawn into all previews from the first map on.

    The host makes one previewer object per run. It draws the concepts from `attach` to `detach`. If there is none,
    because the host's previews are turned off, the map alone is sent.

    Args:
        concepts: that are recorded.
        view: a concept's name or `segmentation`, see `StepPainter`, or `regions`.
        rule: that turns the run's scores into shares.
        recorded: recorded layers.
        default: the architecture's default layers.
        masks: of the regions where something acts.
    """

    def __init__(
        self,
        concepts: Sequence[Concept],
        view: str,
        rule: ShareRule,
        recorded: Sequence[int],
        default: Sequence[int],
        masks: Masks = dict,
    ) -> None:
        self._painter = None if view == REGIONS else StepPainter(concepts, view, rule)
        self._layers = [recorded.index(layer) for layer in usual_layers(recorded, default)]
        self._masks = masks
        self._previewer: Any = None
        self._paint: Paint | None = None  # while a step with something to draw is shown
        self._off = False

    def attach(self, callback: StepCallback | None, session: RecordingSession) -> StepCallback:
        """A callback to sample with, in place of the host's or None; call it after the session's `after_step`."""
        self._previewer = find_previewer(callback)
        if self._previewer is not None:
            decode = getattr(self._previewer, _DECODE)
            setattr(self._previewer, _DECODE, lambda kind, x0: self._draw_over(decode(kind, x0)))
        committed = 0

        def show_step(step: int, denoised: Tensor, x: Tensor, steps: int) -> Any:
            nonlocal committed
            fresh, committed = session.builder.committed > committed, session.builder.committed
            self._paint = None
            if not self._off:
                with guarded(self._turn_off):
                    self._paint = self._paint_of(session, fresh)
            result = None if callback is None else callback(step, denoised, x, steps)
            preview = None
            if self._previewer is None and self._paint is not None:
                with guarded(self._turn_off):
                    preview = _FORMAT, self._paint(None), None
            if preview is not None:
                comfy.utils.ProgressBar(steps).update_absolute(step + 1, steps, preview)
            return result

        return show_step

    def detach(self) -> None:
        """Restore the host's previewer."""
        if self._previewer is not None:
            delattr(self._previewer, _DECODE)
        self._previewer = self._paint = None

    def _draw_over(self, preview: Any) -> Any:
        """The host's preview, (format, image, size) or None, with the concepts in it."""
        if self._paint is None or not isinstance(preview, tuple):  # other packs' previewers send theirs by themselves
            return preview
        with guarded(self._turn_off):
            kind, image, size = preview
            return kind, self._paint(shrink(image, size)), size
        return preview

    def _turn_off(self, reason: str) -> None:
        """Leave the previews as they are from here on: one failed."""
        logger.warning("Concepts are not shown in the previews: %s", reason)
        self._paint, self._off = None, True

    def _paint_of(self, session: RecordingSession, fresh: bool) -> Paint | None:
        """What draws the step that has ended; None if there is nothing to draw.

        Args:
            session: of the run.
            fresh: whether this step was recorded.
        """
        if self._painter is None:
            masks = [mask[0, 0] for mask in self._masks().values()]  # the host shows the first image, too
            return functools.partial(paint_mask, torch.stack(masks).amax(dim=0)) if masks else None
        if not fresh or session.geometry is None:
            return None
        scores = tuple(part[self._layers, 0] for part in session.builder.latest)
        grid, visible = session.geometry.grid[1:], session.geometry.visible
        return functools.partial(self._painter.paint, scores, grid, visible)


def find_previewer(callback: Any) -> Any | None:
    """The host's previewer that a callback draws with, also if the host's callback is wrapped in other functions."""
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
