"""Previews of one step while it is being sampled: small and fast to draw."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from ..concepts import Concept, concept_index
from ..errors import UserError
from ..recording.shares import ShareRule
from .colormaps import colorize, concept_colors

SEGMENTATION, REGIONS = "segmentation", "regions"
OPACITY = 0.6  # of the colours over an image
SIZE = 256  # pixels, long side, of an image of colours alone


def check_preview(wanted: str, concepts: Sequence[Concept]) -> None:
    """Check that a preview can show what is wanted.

    Raises:
        UserError: if `wanted` is neither a concept's name nor `segmentation` nor `regions`.
    """
    if wanted in (SEGMENTATION, REGIONS):
        return
    try:
        concept_index(concepts, wanted)
    except UserError:
        names = ", ".join(concept.name for concept in concepts)
        raise UserError(
            f'The live preview cannot show "{wanted}". Write one of {names}, {SEGMENTATION} or {REGIONS}; '
            "leave it empty for none."
        ) from None


class StepPainter:
    """Draws the shares of single steps.

    Args:
        concepts: of the recording.
        wanted: name of one of them, whose share is drawn in viridis from 0 to 1; or `segmentation`: every token in the
            colour of the concept that wins it, see `overlay_segmentation`.
        rule: how scores become shares.

    Raises:
        UserError: see `check_preview`.
    """

    def __init__(self, concepts: Sequence[Concept], wanted: str, rule: ShareRule) -> None:
        check_preview(wanted, concepts)
        self._rule = rule
        self._concept = None if wanted == SEGMENTATION else concept_index(concepts, wanted)
        colours = concept_colors(len(concepts)) if self._concept is None else colorize(torch.linspace(0, 1, 256)[None])
        self._table = (colours.reshape(-1, 3) * 255).round().to(torch.uint8).numpy()

    @torch.no_grad()
    def paint(
        self,
        scores: tuple[Tensor, ...],
        grid: tuple[int, int],
        visible: tuple[float, float] = (1.0, 1.0),
        under: Image.Image | None = None,
    ) -> Image.Image:
        """Draw the mean share over layers in colour, over an image or alone.

        Args:
            scores: scores (L, C, N), norms (L, C) and, where there are any, pad scores (L, N), of the layers to
                average; of a video the first frame is drawn.
            grid: tokens (H, W).
            visible: fraction of the grid's height and width that lies in the image, see `Heatmaps`.
            under: the image, RGB, or None.

        Returns:
            RGB, as large as `under`, or `SIZE` pixels on the long side.
        """
        (rows, columns), (high, wide) = grid, visible
        first = [part[..., : rows * columns] if index != 1 else part for index, part in enumerate(scores)]
        shares = self._rule.shares(self._rule.values(*first).mean(dim=0))
        tokens = Image.fromarray(self._table[self._levels(shares)].reshape(rows, columns, 3))
        size = _contained(columns * wide, rows * high) if under is None else under.size
        resample = Image.Resampling.NEAREST if self._concept is None else Image.Resampling.BILINEAR
        drawn = tokens.resize(size, resample, box=(0, 0, columns * wide, rows * high))
        return drawn if under is None else Image.blend(under, drawn, OPACITY)

    def _levels(self, shares: Tensor) -> np.ndarray:
        """Row of the table for every token, (N,), of shares (C, N)."""
        if self._concept is None:
            return shares.argmax(dim=0).cpu().numpy()
        return (shares[self._concept] * 256).long().clamp_(0, 255).cpu().numpy()


def paint_mask(mask: Tensor, under: Image.Image | None = None) -> Image.Image:
    """Draw a mask (H, W), 0-1: an image that is darker outside, or white on black alone.

    Returns:
        RGB, as large as `under`, or `SIZE` pixels on the long side.
    """
    stored = Image.fromarray((mask * 255).round().to(torch.uint8).cpu().numpy())
    size = _contained(mask.shape[1], mask.shape[0]) if under is None else under.size
    drawn = stored.resize(size, Image.Resampling.BILINEAR)
    if under is None:
        return drawn.convert("RGB")
    darker = Image.blend(under, Image.new("RGB", size), OPACITY)
    return Image.composite(under, darker, drawn)


def shrink(image: Image.Image, size: int | None) -> Image.Image:
    """An RGB image whose long side is at most `size` pixels, and more than half of that; itself where it is small."""
    if size is not None and max(image.size) > size:
        image = image.reduce(math.ceil(max(image.size) / size))  # by a whole number: ten times as fast as resizing
    return image.convert("RGB")


def _contained(width: float, height: float) -> tuple[int, int]:
    """(width, height) in pixels of this aspect with a long side of `SIZE`."""
    scale = SIZE / max(width, height)
    return max(1, round(width * scale)), max(1, round(height * scale))
