"""Figures of a whole recording: one concept over layers and steps."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from ..concepts import concept_index
from ..heatmaps.heatmaps import make_heatmaps
from ..recording.recording import Recording
from .colormaps import check_colormap
from .lettering import INK, MUTED, Colour, make_label
from .overlay import select_maps

_MOST = 8  # layers or steps shown
_TILE = (110, 220)  # pixels, long side, of many and of few tiles
_ROOM = 1000  # pixels for all tiles together, between these two
_NARROWEST_SHEET = 420  # pixels, for the title
_NARROWEST = 56  # pixels, so that the numbers above neighbouring tiles do not touch
_SMALLEST = 16  # pixels, for the line beside a tile
_GAP, _MARGIN, _LEFT, _RIGHT, _TOP = 6, 16, 76, 64, 88  # pixels
_TITLE, _TEXT = 17, 12  # font sizes in pixels


def layer_step_figure(
    recording: Recording,
    concept: str,
    index: int = 0,
    *,
    frame: int = 0,
    mode: str = "auto",
    temperature: float | None = None,
    colormap: str = "viridis",
) -> Tensor:
    """Draw one concept's share at every kept layer (rows) and step (columns), on one colour scale of 0-1.

    More than 8 layers or steps are thinned out evenly; the first and the last always stay, and the figure
    says how many there are.

    Args:
        recording: what one sampling run recorded.
        concept: name of one of its concepts.
        index: which image of the batch.
        frame: which latent frame, for a video.
        mode, temperature: see `make_heatmaps`.
        colormap: see `colorize`.

    Returns:
        (H, W, 3) float32, 0-1, on white.

    Raises:
        UserError: an unknown concept, mode or colour map; an image or frame that does not exist.

    >>> from concept_attention.recording.example import example_recording
    >>> layer_step_figure(example_recording(), "house").shape
    torch.Size([404, 586, 3])
    """
    position = concept_index(recording.concepts, concept)
    check_colormap(colormap)
    layers, steps = _thin(len(recording.layers)), _thin(len(recording.steps))

    def share(layer: int, step: int) -> np.ndarray:
        maps = make_heatmaps(recording, [recording.layers[layer]], [step], mode, temperature)
        return select_maps(maps, index, frame)[position].numpy()

    counts = _of(layers, len(recording.layers), "layer"), _of(steps, len(recording.steps), "step")
    height, width = recording.covered_size or recording.image_size
    sheet = _Sheet(len(layers), len(steps), width / height)
    sheet.title(recording.concepts[position].name, f"share by layer and noise level σ: {', '.join(counts)}")
    for row, layer in enumerate(layers):
        for column, step in enumerate(steps):
            sheet.tile(row, column, share(layer, step), colormap)
    sheet.label_rows([f"layer {recording.layers[layer]}" for layer in layers])
    sheet.label_columns([f"σ {recording.sigmas[step]:.2f}" for step in steps])
    sheet.scale(colormap)
    return sheet.render()


def _thin(count: int) -> list[int]:
    """At most `_MOST` of `count` positions, evenly spread, the first and the last among them."""
    return sorted({round(position) for position in np.linspace(0, count - 1, min(count, _MOST))})


def _of(shown: Sequence[int], count: int, what: str) -> str:
    number = f"{count}" if len(shown) == count else f"{len(shown)} of {count}"
    return f"{number} {what}{'' if count == 1 else 's'}"


class _Sheet:
    """A matplotlib figure laid out in pixels from the top left corner, without matplotlib's global state."""

    def __init__(self, rows: int, columns: int, aspect: float) -> None:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure

        many, few = _TILE
        long_side = min(few, max(many, _ROOM // max(rows, columns)))
        shape = np.array([min(aspect, 1), min(1 / aspect, 1)]) * long_side
        shape *= max(1, _NARROWEST / shape[0])
        self.tile_width, self.tile_height = (max(_SMALLEST, round(side)) for side in shape)
        self.grid_width = columns * (self.tile_width + _GAP) - _GAP
        self.grid_height = rows * (self.tile_height + _GAP) - _GAP
        self.width = max(_NARROWEST_SHEET, _LEFT + self.grid_width + _RIGHT)
        self.height = _TOP + self.grid_height + _MARGIN
        # at 72 dots per inch a point is a pixel
        self.figure = Figure(figsize=(self.width / 72, self.height / 72), dpi=72, facecolor="white")
        self.canvas = FigureCanvasAgg(self.figure)

    def title(self, name: str, explanation: str) -> None:
        self._text(name, _MARGIN, 28, _TITLE, INK)
        self._text(explanation, _MARGIN, 50, _TEXT, MUTED)

    def tile(self, row: int, column: int, share: np.ndarray, colormap: str) -> None:
        left, top = self._corner(row, column)
        self._show(share, left, top, self.tile_width, self.tile_height, colormap)

    def label_rows(self, names: Sequence[str]) -> None:
        for row, name in enumerate(names):
            _, top = self._corner(row, 0)
            self._text(name, _LEFT - 10, top + self.tile_height / 2 + 0.36 * _TEXT, _TEXT, INK, "right")

    def label_columns(self, names: Sequence[str]) -> None:
        for column, name in enumerate(names):
            left, _ = self._corner(0, column)
            self._text(name, left + self.tile_width / 2, _TOP - 8, _TEXT, INK, "center")

    def scale(self, colormap: str) -> None:
        left, height = _LEFT + self.grid_width + 16, min(self.grid_height, 220)
        self._show(np.linspace(1, 0, 256)[:, None], left, _TOP, 12, height, colormap)
        for text, baseline in (("1", _TOP + 0.73 * _TEXT), ("0", _TOP + height)):
            self._text(text, left + 18, baseline, _TEXT, MUTED)

    def render(self) -> Tensor:
        """(H, W, 3) float32, 0-1."""
        self.canvas.draw()
        pixels = np.asarray(self.canvas.buffer_rgba())[..., :3]
        return torch.from_numpy(pixels.astype(np.float32) / 255)

    def _corner(self, row: int, column: int) -> tuple[int, int]:
        return _LEFT + column * (self.tile_width + _GAP), _TOP + row * (self.tile_height + _GAP)

    def _show(self, values: np.ndarray, left: int, top: int, width: int, height: int, colormap: str) -> None:
        box = (left / self.width, 1 - (top + height) / self.height, width / self.width, height / self.height)
        axes = self.figure.add_axes(box)
        axes.set_axis_off()
        axes.imshow(values, cmap=colormap, vmin=0, vmax=1, aspect="auto", interpolation="nearest", origin="upper")

    def _text(self, text: str, x: float, baseline: float, size: int, colour: Colour, align: str = "left") -> None:
        from matplotlib.font_manager import FontProperties

        label = make_label(text)
        if align == "left":
            label = label.shortened(size, round(self.width - _MARGIN - x))
        self.figure.text(
            x / self.width,
            1 - baseline / self.height,
            label.text,
            fontproperties=FontProperties(fname=label.font_file, size=size),
            color=np.array(colour) / 255,
            horizontalalignment=align,
            verticalalignment="baseline",
            parse_math=False,  # a name may hold dollar signs
        )
