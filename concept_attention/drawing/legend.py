"""Legends, captions and colour scales, drawn as strips that go around images."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from PIL import Image, ImageDraw
from PIL.ImageDraw import ImageDraw as Draw
from torch import Tensor

from ..images import from_pil, to_pil
from .colormaps import colorize
from .lettering import INK, MUTED, PAPER, Colour, Label, make_label

_CAP_HEIGHT = 0.73  # of DejaVu Sans, in font sizes
_RULE: Colour = (150, 150, 156)  # outline of swatches and scales, visible on paper next to any colour
# in font sizes
_GAP = 0.45
_COLUMN_GAP = 2
_SHORTEST_NAME = 4
_LONGEST_NAME = 16


@dataclass(frozen=True)
class Entry:
    """One line of a legend: a colour, what it stands for, and a short number beside it, "" for none."""

    label: Label
    colour: Colour
    number: str


def draw_legend(groups: Sequence[tuple[str, Sequence[Entry]]], width: int, size: int) -> Tensor:
    """Draw a legend on white, to go below an image of any brightness.

    Args:
        groups: (heading, entries) from top to bottom, one entry at least; no heading is drawn for "", and
            nothing for an empty group.
        width: width of the strip in pixels.
        size: font size in pixels.

    Returns:
        (height, width, 3) float32, 0-1. The height depends on the labels and the width, not on the numbers,
        so the legends of a batch stack.
    """
    groups = [(heading, entries) for heading, entries in groups if entries]
    margin, row = round(0.8 * size), round(1.5 * size)
    layout = _lay_out([entries for _, entries in groups], width - 2 * margin, size)
    lines = sum(math.ceil(len(entries) / layout.columns) + bool(heading) for heading, entries in groups)
    space = sum(round(0.4 * row) for heading, _ in groups[1:] if heading)
    strip = Image.new("RGB", (width, 2 * margin + lines * row + space), PAPER)
    draw = ImageDraw.Draw(strip)
    top = margin
    for position, (heading, entries) in enumerate(groups):
        if heading:
            top += round(0.4 * row) if position else 0
            title = make_label(heading).shortened(size, width - 2 * margin)
            _write(draw, title, margin, top, row, size, MUTED)
            top += row
        rows = math.ceil(len(entries) / layout.columns)
        for index, entry in enumerate(entries):  # read down, then across
            left = margin + (index // rows) * (layout.width + _COLUMN_GAP * size)
            _draw_entry(draw, entry, left, top + (index % rows) * row, layout, size)
        top += rows * row
    return from_pil(strip)


@dataclass(frozen=True)
class _Layout:
    """Columns of a legend, and the pixels each has in all, for a name and for a number (0: left out)."""

    columns: int
    width: int
    name: int
    number: int


def _lay_out(groups: Sequence[Sequence[Entry]], room: int, size: int) -> _Layout:
    labels = [entry.label for entries in groups for entry in entries]
    widest = max(label.width(size) for label in labels)
    swatch, number, between = size + round(_GAP * size), make_label("100 %").width(size), _COLUMN_GAP * size
    number += round(_GAP * size)
    if room - swatch - number < min(widest, _SHORTEST_NAME * size):
        number = 0  # rather a name than a number
    limit, half = _LONGEST_NAME * size, (room - between) // 2 - swatch - number
    if len(labels) > 4 and half >= 2 * _SHORTEST_NAME * size:
        limit = min(limit, half)  # a few long names must not push many short ones into a single column
    name = max(0, min(widest, limit, room - swatch - number))
    width = swatch + name + number
    columns = max(1, (room + between) // (width + between))
    return _Layout(min(columns, max(len(entries) for entries in groups)), width, name, number)


def _draw_entry(draw: Draw, entry: Entry, left: int, top: int, layout: _Layout, size: int) -> None:
    row = round(1.5 * size)
    box = top + (row - size) // 2
    draw.rectangle((left, box, left + size - 1, box + size - 1), entry.colour, _RULE)
    name_left = left + size + round(_GAP * size)
    _write(draw, entry.label.shortened(size, layout.name), name_left, top, row, size, INK)
    if layout.number and entry.number:
        number = make_label(entry.number)
        _write(draw, number, left + layout.width - number.width(size), top, row, size, MUTED)


def draw_caption(label: Label, width: int, size: int, note: str = "", muted: bool = False) -> Tensor:
    """Draw one line to go above a tile: the label on the left, a muted note on the right if there is room.

    Returns:
        (round(1.5 * size), width, 3) float32, 0-1.
    """
    row = round(1.5 * size)
    strip = Image.new("RGB", (width, row), PAPER)
    draw = ImageDraw.Draw(strip)
    room = width
    if note:
        right = make_label(note)
        _write(draw, right, width - right.width(size), 0, row, size, MUTED)
        room -= right.width(size) + round(0.5 * size)
    _write(draw, label.shortened(size, max(0, room)), 0, 0, row, size, MUTED if muted else INK)
    return from_pil(strip)


def draw_scale(
    title: str, low: float, high: float, colormap: str, width: int, size: int, *, fade: bool = False
) -> Tensor:
    """Draw what the colours of a heatmap mean on one line: title, lowest value, colours, highest value.

    The title is left out where there is no room for it. With `fade` the lower a value, the more its colour fades into
    the paper, as it does into an image.

    Returns:
        (round(1.5 * size), width, 3) float32, 0-1.
    """
    row, gap = round(1.5 * size), round(0.5 * size)
    strip = Image.new("RGB", (width, row), PAPER)
    draw = ImageDraw.Draw(strip)
    heading = make_label(title)
    first, last = (make_label(f"{value:.3g}".replace("-", "−")) for value in (low, high))
    left = heading.width(size) + 2 * gap
    bar = width - left - first.width(size) - last.width(size) - 2 * gap
    if bar >= 2 * size:
        _write(draw, heading, 0, 0, row, size, INK)
    else:
        left, bar = 0, bar + left
    bar = max(2, min(bar, 12 * size))
    _write(draw, first, left, 0, row, size, MUTED)
    left += first.width(size) + gap
    ramp = torch.linspace(0, 1, bar).expand(size, bar)
    colours = colorize(ramp, colormap)
    if fade:
        colours = torch.lerp(torch.ones_like(colours), colours, ramp[..., None])
    strip.paste(to_pil(colours), (left, (row - size) // 2))
    _write(draw, last, left + bar + gap, 0, row, size, MUTED)
    return from_pil(strip)


def _write(draw: Draw, label: Label, left: int, top: int, row: int, size: int, colour: Colour) -> None:
    """Write a label with its capitals centred in a row, on the same baseline whatever its font."""
    baseline = top + round((row + _CAP_HEIGHT * size) / 2)
    draw.text((left, baseline), label.text, font=label.font(size), fill=colour, anchor="ls")
