"""What every data set gives: a picture with its label map."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

import numpy as np
from PIL import Image

VOID = 255  # label of pixels that do not count


@dataclass(frozen=True, eq=False)
class Example:
    """One picture with its truth.

    Attributes:
        id: its name in the data set, also usable as a file name.
        image: RGB.
        labels: (H, W) uint8, the picture's own size; VOID where nothing counts.
        words: what each label that the picture shows is called, without the background's.
        thin: by name, the label of a thin part such as a mast, and where it is, (H, W) bool.
    """

    id: str
    image: Image.Image
    labels: np.ndarray
    words: Mapping[int, str]
    thin: Mapping[str, tuple[int, np.ndarray]] = field(default_factory=dict)


class DataSet(Protocol):
    """Pictures with label maps, read one at a time.

    Attributes:
        name: as the command line has it.
        classes: the word of every label, in order; of label 0 "background" if `background`.
        background: whether label 0 stands for all that is no class.
        files: what its results depend on, for their hash.
        words_from: where the words come from, if they are not the data set's own.
    """

    @property
    def name(self) -> str: ...

    @property
    def classes(self) -> Sequence[str]: ...

    @property
    def background(self) -> bool: ...

    @property
    def files(self) -> Sequence[Path]: ...

    @property
    def words_from(self) -> str: ...

    def __len__(self) -> int: ...

    def __getitem__(self, index: int) -> Example: ...


def shown_words(labels: np.ndarray, classes: Sequence[str], background: bool) -> dict[int, str]:
    """The words of the labels that occur, in the order of the labels, without void and background."""
    shown = [int(label) for label in np.unique(labels)]
    return {label: classes[label] for label in shown if label != VOID and not (background and label == 0)}


def resize_labels(labels: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """A label map at (height, width), each pixel the label at its centre."""
    return np.asarray(Image.fromarray(labels).resize((size[1], size[0]), Image.Resampling.NEAREST))
