"""The model at work: batches of pictures to heatmaps, and a callable for other people's data pipelines."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from PIL.Image import Image, Resampling

from ..errors import UserError
from ..heatmaps.heatmaps import make_heatmaps
from ..heatmaps.presence import presence_scores
from ..hosts.collector import versions
from ..hosts.diffusers.analysis import ImageAnalysis, shown_size
from ..hosts.diffusers.generation import Result, generate
from ..hosts.diffusers.loading import load_pipeline
from ..hosts.diffusers.pictures import as_images, scaled
from ..hosts.diffusers.recorder import HOST
from ..hosts.diffusers.registry import family_of
from ..images import read_image
from ..recording.recording import Recording
from .findings import Maps, find, presences
from .items import Finding
from .rows import LABEL_COLUMNS, column, label_row
from .settings import LabelSettings

Grid = tuple[int, int]  # rows and columns of image tokens
_SEEDS = 1 << 62


class ConceptLabeller:
    """Finds concepts in batches of pictures with one loaded model.

    Called with a batch of columns it is what `map_batches` of Ray Data and the like want: it loads the model once, and
    returns the columns with the labels beside them.

    Args:
        settings: what to look for, and how.
        device: see `load_pipeline`.

    Raises:
        UserError: for a model that cannot be loaded or makes videos, and for settings that it refuses.

    Example:
        >>> import numpy as np
        >>> from concept_attention import ConceptLabeller, LabelSettings, parse_concepts
        >>> labeller = ConceptLabeller(LabelSettings(parse_concepts("house", background="sky, grass")), device="cpu")
        >>> labels = labeller({"id": ["a"], "image": np.zeros((1, 64, 96, 3), np.uint8)})
        >>> labels["concepts"][0], labels["area"][0]
        (['house'], [0.0])
    """

    def __init__(self, settings: LabelSettings, device: str = "auto") -> None:
        self.settings = settings
        self._pipeline = load_pipeline(settings.model, device, settings.dtype, settings.offload, quiet=True)
        self._pipeline.set_progress_bar_config(disable=True)
        family = family_of(self._pipeline)
        if family.video:
            raise UserError(f"{settings.model} makes videos; labels are made for pictures. Choose another model.")
        family.check_parts(self._pipeline)
        self._unit = family.token_pixels(self._pipeline)
        self._analysis = ImageAnalysis(
            self._pipeline,
            settings.concepts,
            prompt=settings.prompt,
            noise=settings.noise,
            samples=settings.samples,
            layers=settings.layers,
            mode=settings.mode,
            pooling=settings.pooling,
            reader=settings.reader,
            keep="running mean",
        )
        self.seconds = 0.0  # that the model has worked

    @property
    def made_with(self) -> dict[str, Any]:
        """Device and versions, ready for JSON."""
        return {"device": str(self._pipeline._execution_device), "versions": versions(*HOST)}

    def grid(self, image: Image) -> Grid:
        """Token rows and columns that an image is analyzed with; only images that share them make a batch."""
        width, height = shown_size(self._pipeline, image.size, self.settings.width, self.settings.height)
        return height // self._unit, width // self._unit

    def scaled(self, image: Image) -> Image:
        """An image at the size that the model gets."""
        rows, columns = self.grid(image)
        return image.resize((self._unit * columns, self._unit * rows), Resampling.LANCZOS)

    def analyze(self, images: Sequence[Image], ids: Sequence[str], sizes: Sequence[tuple[int, int]]) -> list[Maps]:
        """Shares of every concept in existing pictures.

        Args:
            images: of one `grid`, from `scaled`.
            ids: of the pictures; their noise depends on them.
            sizes: (width, height) of the pictures, before they were scaled.
        """
        width, height = images[0].size
        pixels = scaled(images, width, height)
        seeds = [picture_seed(self.settings.seed, one, self.settings.samples) for one in ids]
        began = time.perf_counter()
        recording = self._analysis.record(pixels, seeds)
        self.seconds += time.perf_counter() - began
        return self._split(recording, sizes)

    def generate(self, prompts: Sequence[str], seed: int) -> tuple[list[Image], list[Maps]]:
        """Make a picture from every prompt, picture i with `seed` + i, and the shares of the concepts in it."""
        began, images, maps = time.perf_counter(), list[Image](), list[Maps]()
        at_once = 1 if family_of(self._pipeline).one_prompt else len(prompts)
        for start in range(0, len(prompts), at_once):
            result = self._make(prompts[start : start + at_once], seed + start)
            images += result.images
            maps += self._split(result.recording, [image.size for image in result.images])
        self.seconds += time.perf_counter() - began
        return images, maps

    def _make(self, prompts: Sequence[str], seed: int) -> Result:
        settings = self.settings
        return generate(
            self._pipeline,
            list(prompts),
            settings.concepts,
            negative_prompt=settings.negative_prompt,
            width=settings.width,
            height=settings.height,
            steps=settings.steps,
            guidance=settings.guidance,
            cfg=settings.cfg,
            seed=seed,
            layers=settings.layers,
            mode=settings.mode,
            pooling=settings.pooling,
            reader=settings.reader,
            keep="running mean",
        )

    def __call__(self, batch: dict[str, Any]) -> dict[str, Any]:
        """Label a batch of columns.

        Args:
            batch: at least `image`: encoded files as bytes, dictionaries with `bytes`, or (H, W, 3) arrays; and, if
                there is one, `id`, which the noise of a picture depends on.

        Returns:
            The same columns and, with a list per picture: `concepts`, `presence`, `area`, `box`, and `mask`, PNG files
            as bytes.

        Raises:
            UserError: if there is no `image`, or it cannot be read.
        """
        if "image" not in batch:
            raise UserError(f"There is no column image, only {', '.join(batch)}. Rename the pictures' column.")
        images = [_as_image(one) for one in batch["image"]]
        ids = [str(one) for one in batch.get("id", [""] * len(images))]
        found: dict[int, tuple[Finding, ...]] = {}
        by_grid: dict[Grid, list[int]] = {}
        for position, image in enumerate(images):
            by_grid.setdefault(self.grid(image), []).append(position)
        for same in by_grid.values():
            for start in range(0, len(same), self.settings.batch):
                chosen = same[start : start + self.settings.batch]
                maps = self.analyze(
                    [self.scaled(images[one]) for one in chosen],
                    [ids[one] for one in chosen],
                    [images[one].size for one in chosen],
                )
                for position, one in zip(chosen, maps, strict=True):
                    found[position] = find(one, self.settings.masks)[0]
        rows = [label_row(found[position]) for position in range(len(images))]
        return {**batch, **{name: column([row[name] for row in rows]) for name in LABEL_COLUMNS}}

    def _split(self, recording: Recording, sizes: Sequence[tuple[int, int]]) -> list[Maps]:
        """The maps of a batch, one by one, for pictures of these (width, height)."""
        heatmaps = make_heatmaps(recording, "all", temperature=self.settings.temperature)
        scores = None
        if recording.presence is not None:  # the reader clip has none
            scores = presence_scores(make_heatmaps(recording, "all", kind="presence").values).tolist()
        found = []
        for index, (width, height) in enumerate(sizes):
            own = replace(heatmaps, values=heatmaps.values[index : index + 1].clone(), image_size=(height, width))
            found.append(Maps(own, presences(own, scores and scores[index])))
        return found


def picture_seed(seed: int, picture: str, samples: int) -> int:
    """The seed of a picture's first noise: always the same for an id, whatever else is in the data set."""
    digest = hashlib.sha256(f"{seed}/{picture}".encode()).digest()
    return int.from_bytes(digest[:8], "big") % (_SEEDS - samples)


def _as_image(given: Any) -> Image:
    if isinstance(given, dict):  # Hugging Face's form
        given = given["bytes"]
    if isinstance(given, bytes | bytearray | memoryview):
        return read_image(bytes(given), "a picture of the batch").image
    return as_images(given, video=False)[0]
