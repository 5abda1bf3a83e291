"""The contact sheet: random results on one page, for a person to look at before anything is trained on them."""

from __future__ import annotations

import hashlib
import heapq
from collections.abc import Sequence
from random import Random

import torch
from PIL import Image

from ..drawing.colormaps import concept_colors
from ..drawing.legend import Entry, draw_caption, draw_legend
from ..drawing.lettering import make_label
from ..images import from_pil, to_pil
from .items import Labelled

RESULTS = 24
_COLUMNS = 4  # of pairs: the picture, and the picture with its masks
_SIDE, _GAP, _MARGIN, _TEXT = 200, 4, 12, 13  # pixels
_OPACITY = 0.65


def places(shards: Sequence[str]) -> dict[str, int]:
    """How many of the results each shard shows: drawn at random, always the same for as many shards."""
    if not shards:
        return {}
    random = Random(len(shards))  # noqa: S311 - reproducible, not secret
    least, more = divmod(RESULTS, len(shards))
    chosen = random.sample(range(len(shards)), more)
    counts = {name: least + (position in chosen) for position, name in enumerate(shards)}
    return {name: count for name, count in counts.items() if count}


class Sample:
    """The results that one shard shows: those whose ids have the lowest hashes, drawn as they come.

    Args:
        count: how many.
        names: of the concepts, for their colours.
    """

    def __init__(self, count: int, names: Sequence[str]) -> None:
        self._count, self._names = count, names
        self._kept: list[tuple[int, str, Image.Image]] = []

    def offer(self, labelled: Labelled) -> None:
        """Keep a result if it is one of those."""
        rank = -int.from_bytes(hashlib.sha256(labelled.id.encode()).digest()[:8], "big")
        if len(self._kept) < self._count:
            heapq.heappush(self._kept, (rank, labelled.id, draw_result(labelled, self._names)))
        elif self._count and rank > self._kept[0][0]:
            heapq.heapreplace(self._kept, (rank, labelled.id, draw_result(labelled, self._names)))

    def drawn(self) -> list[Image.Image]:
        """The results, in the order of their ids."""
        return [image for _, _, image in sorted(self._kept, key=lambda one: one[1])]


def draw_result(labelled: Labelled, names: Sequence[str]) -> Image.Image:
    """A picture, and beside it the picture with every mask in the colour of its concept; all results have one size."""
    picture = labelled.image.copy()
    picture.thumbnail((_SIDE, _SIDE), Image.Resampling.LANCZOS)
    painted = from_pil(picture)
    colours = concept_colors(len(names))
    for one in labelled.findings:
        mask = Image.fromarray(one.mask).resize(picture.size, Image.Resampling.BOX)
        weight = _OPACITY * from_pil(mask)[..., :1]
        painted = painted * (1 - weight) + colours[list(names).index(one.name)] * weight
    tile = torch.ones(_SIDE, 2 * _SIDE + _GAP, 3)
    for left, image in ((0, from_pil(picture)), (_SIDE + _GAP, painted)):
        height, width = image.shape[:2]
        top, side = (_SIDE - height) // 2, left + (_SIDE - width) // 2
        tile[top : top + height, side : side + width] = image
    caption = draw_caption(make_label(labelled.id), 2 * _SIDE + _GAP, _TEXT, muted=True)
    return to_pil(torch.cat([caption, tile]))


def draw_sheet(results: Sequence[Image.Image], names: Sequence[str]) -> Image.Image:
    """Results side by side, and what the colours mean."""
    rows = [list(results[start : start + _COLUMNS]) for start in range(0, len(results), _COLUMNS)]
    width, height = results[0].size
    columns = min(_COLUMNS, len(results))
    sheet = Image.new(
        "RGB",
        (columns * (width + _MARGIN) + _MARGIN, len(rows) * (height + _MARGIN) + _MARGIN),
        "white",
    )
    for row, images in enumerate(rows):
        for column, image in enumerate(images):
            sheet.paste(image, (_MARGIN + column * (width + _MARGIN), _MARGIN + row * (height + _MARGIN)))
    colours = (concept_colors(len(names)) * 255).round().int().tolist()
    entries = [
        Entry(make_label(name), (red, green, blue), "") for name, (red, green, blue) in zip(names, colours, strict=True)
    ]
    return to_pil(torch.cat([from_pil(sheet), draw_legend([("", entries)], sheet.width, _TEXT)]))
