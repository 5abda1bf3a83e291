"""Drawn landscapes as a data set with label maps."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from ...evaluation.datasets.example import Example, shown_words
from ..world.crayon import crayon
from ..world.scenes import LABELS, Scene, draw_scene
from ..world.shapes import THIN
from .landscapes import MOST_SCENES, unseen_seed

PART_AREA = 0.0004  # share of the picture from which a thin part counts: 26 pixels of 256 x 256


class Landscapes:
    """See `DataSet`: scenes that no training step saw, drawn when they are asked for.

    Args:
        seed: chooses the scenes.
        side: pixels of their sides.
        count: how many there are.
        name: `landscapes`, or `crayon` for the same in a style that no model was trained on.
    """

    classes: Sequence[str] = LABELS
    background = False
    files: Sequence[Path] = ()
    words_from = ""

    def __init__(self, seed: int = 0, side: int = 256, count: int = MOST_SCENES, name: str = "landscapes") -> None:
        self.name, self._seed, self._side, self._count = name, seed, side, count

    def __len__(self) -> int:
        return self._count

    def __getitem__(self, index: int) -> Example:
        scene = draw_scene(unseen_seed(self._seed, index), self._side, self._side)
        scene = crayon(scene) if self.name == "crayon" else scene
        words = shown_words(scene.labels, LABELS, background=False)
        kept = {label: word for label, word in words.items() if word in scene.words}
        image, labels = Image.fromarray(scene.image), scene.labels.astype("uint8")
        return Example(str(scene.seed), image, labels, kept, _thin_parts(scene))


def _thin_parts(scene: Scene) -> dict[str, tuple[int, np.ndarray]]:
    """See `Example.thin`; parts that are nearly hidden are left out."""
    found = {}
    for index, name in enumerate(THIN, start=1):
        place = scene.parts == index
        if place.sum() >= PART_AREA * place.size:
            found[name] = (int(np.bincount(scene.labels[place]).argmax()), place)
    return found
