"""Tiles on a sheet of white paper."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from ..errors import UserError


def arrange(tiles: list[Tensor], columns: int, margin: int) -> Tensor:
    """Place tiles of one size row by row on white."""
    if columns < 1:
        raise UserError(f"A grid has at least 1 column, got {columns}.")
    columns = min(columns, len(tiles))
    rows = math.ceil(len(tiles) / columns)
    height, width = tiles[0].shape[:2]
    # the caption's own height keeps rows apart; only half a margin goes between them
    step_y, step_x = height + margin // 2, width + margin
    sheet = torch.ones(rows * step_y - margin // 2 + 2 * margin, columns * step_x + margin, 3)
    for index, tile in enumerate(tiles):
        top, left = margin + (index // columns) * step_y, margin + (index % columns) * step_x
        sheet[top : top + height, left : left + width] = tile
    return sheet


def choose_columns(count: int, width: int, height: int) -> int:
    """Tiles per row for a sheet near 3:2 with few empty places."""

    def cost(columns: int) -> float:
        rows = math.ceil(count / columns)
        aspect = abs(math.log(columns * width / (rows * height) / 1.5))
        return aspect + (columns * rows - count) / columns

    return min(range(1, count + 1), key=cost)


def inset(strip: Tensor, margin: int, above: int = 0, below: int = 0) -> Tensor:
    """A strip with white on both sides, above and below, in pixels."""
    height, width = strip.shape[:2]
    paper = torch.ones(above + height + below, width + 2 * margin, 3)
    paper[above : above + height, margin : margin + width] = strip
    return paper
