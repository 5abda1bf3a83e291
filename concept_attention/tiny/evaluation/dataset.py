"""Drawn landscapes as a data set with label maps."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from PIL import Image

from ...evaluation.datasets.example import Example, shown_words
from ..world.scenes import LABELS, draw_scene
from .landscapes import MOST_SCENES, unseen_seed


class Landscapes:
    """See `DataSet`: scenes that no training step saw, drawn when they are asked for.

    Args:
        seed: chooses the scenes.
        side: pixels of their sides.
        count: how many there are.
    """

    name = "landscapes"
    classes: Sequence[str] = LABELS
    background = False
    files: Sequence[Path] = ()
    words_from = ""

    def __init__(self, seed: int = 0, side: int = 256, count: int = MOST_SCENES) -> None:
        self._seed, self._side, self._count = seed, side, count

    def __len__(self) -> int:
        return self._count

    def __getitem__(self, index: int) -> Example:
        scene = draw_scene(unseen_seed(self._seed, index), self._side, self._side)
        words = shown_words(scene.labels, LABELS, background=False)
        kept = {label: word for label, word in words.items() if word in scene.words}
        return Example(str(scene.seed), Image.fromarray(scene.image), scene.labels.astype("uint8"), kept)
