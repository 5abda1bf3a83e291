"""Labelling without a model: a labeller that reads concepts off the pictures' colours, and data sets to label."""

from __future__ import annotations

import hashlib
import os
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from concept_attention.concepts import parse_concepts
from concept_attention.heatmaps.heatmaps import Heatmaps
from concept_attention.labelling.engines.crew import Crew
from concept_attention.labelling.findings import Maps, finding, presences
from concept_attention.labelling.items import Labelled
from concept_attention.labelling.settings import LabelSettings
from concept_attention.labelling.worker import Worker

CONCEPTS = parse_concepts("red, green", background="blue")
SETTINGS = LabelSettings(CONCEPTS, batch=4)


class ColourLabeller:
    """Stands for `ConceptLabeller`: the share of a concept at a token is how much of its colour is there.

    Ids go into the shares, as they go into a picture's noise. `seconds_per_picture` makes runs long enough to kill.
    """

    def __init__(self, settings: LabelSettings, seconds_per_picture: float = 0.0) -> None:
        self.settings, self.seconds = settings, 0.0
        self.made_with: dict[str, Any] = {"device": "none", "versions": {}}
        self.batches: list[list[str]] = []
        self._pause = seconds_per_picture

    def grid(self, image: Image.Image) -> tuple[int, int]:
        return max(1, image.height // 16), max(1, image.width // 16)

    def scaled(self, image: Image.Image) -> Image.Image:
        rows, columns = self.grid(image)
        return image.resize((16 * columns, 16 * rows))

    def analyze(self, images: Sequence[Image.Image], ids: Sequence[str], sizes: Sequence[Any]) -> list[Maps]:
        time.sleep(self._pause * len(images))
        self.batches.append(list(ids))
        found = [self._heatmaps(*one) for one in zip(images, ids, sizes, strict=True)]
        return [Maps(one, presences(one)) for one in found]

    def _heatmaps(self, image: Image.Image, name: str, size: tuple[int, int]) -> Heatmaps:
        rows, columns = self.grid(image)
        cells = np.asarray(image.resize((columns, rows), Image.Resampling.BOX), np.float32)
        noise = int(hashlib.sha256(name.encode()).hexdigest()[:4], 16) / 65536
        colours = torch.from_numpy(cells).permute(2, 0, 1) + 1 + noise
        shares = colours / colours.sum(dim=0)
        return Heatmaps(shares[None], self.settings.concepts, "share", (size[1], size[0]))


@dataclass(frozen=True)
class ColourCrew(Crew):
    """A crew of workers without a model; `PAUSE` in the environment is how long they take for a picture."""

    def worker(self, device: str, on_picture: Callable[[int], None] = lambda count: None) -> Worker:
        labeller: Any = ColourLabeller(self.settings, float(os.environ.get("PAUSE", "0")))
        return Worker(labeller, self.source, self.sink, 1, on_picture)


def draw_pictures(folder: Path, count: int, seed: int = 0) -> None:
    """Pictures of coloured rectangles in two sizes, named 00.png, 01.png, ..."""
    folder.mkdir(parents=True, exist_ok=True)
    for number in range(count):
        random = np.random.default_rng([seed, number])
        size = (48, 32) if number % 3 else (32, 64)
        pixels = random.integers(0, 60, (size[1], size[0], 3), np.uint8)
        for channel in random.permutation(3)[:2]:
            top, left = random.integers(0, size[1] // 2), random.integers(0, size[0] // 2)
            pixels[top : top + 24, left : left + 24, channel] = 230
        Image.fromarray(pixels).save(folder / f"{number:02}.png")


def labelled(item_id: str, *masks: np.ndarray, caption: str = "", presence: float = 1.0, **options: Any) -> Labelled:
    """A labelled picture with the masks of the first concepts of `CONCEPTS`, (H, W) uint8."""
    together = np.maximum.reduce(masks)
    height, width = together.shape
    image = Image.new("RGB", (width, height), "teal")
    found = tuple(
        finding(SETTINGS.names[index], presence * (0.5 + index / 4), mask) for index, mask in enumerate(masks)
    )
    return Labelled(item_id, f"{item_id}.png", caption, image, found, together, **options)


def tree(folder: Path, without: Sequence[str] = (".shards", "manifest.jsonl")) -> dict[str, bytes]:
    """Every file below a folder, by its path; without the records that tell how long something took."""
    return dict(_files(folder, without))


def _files(folder: Path, without: Sequence[str]) -> Iterator[tuple[str, bytes]]:
    for path in sorted(folder.rglob("*")):
        relative = path.relative_to(folder)
        if path.is_file() and relative.parts[0] not in without:
            yield relative.as_posix(), path.read_bytes()
