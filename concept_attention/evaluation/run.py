"""The two stages of a benchmark: recordings of the pictures, and figures from the recordings."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from random import Random

from torch import Tensor

from ..errors import UserError
from ..files import write_json
from ..heatmaps.heatmaps import make_heatmaps, select_layers
from ..images import from_pil
from ..recording.file import load_recording, save_recording
from ..recording.recording import Recording
from .baselines.opening import Baseline
from .datasets.example import DataSet, Example
from .measured import Measured
from .protocols import Protocol
from .question import Question
from .refinements import REFINEMENTS
from .settings import Settings

Record = Callable[[Question, Settings], Recording]
OnPicture = Callable[[int, int], None]  # called with (pictures done, pictures in all)


def chosen_pictures(dataset: DataSet, limit: int | None, seed: int, part: tuple[int, int] = (1, 1)) -> list[int]:
    """Positions of the pictures of a run.

    Args:
        dataset: to choose from.
        limit: how many at most, chosen by `seed`; the same for every model and setting.
        seed: of the choice.
        part: (i, n): every n-th of them, beginning with the i-th; 1 to n.
    """
    count = len(dataset)
    chosen = list(range(count))
    if limit is not None and limit < count:
        chosen = sorted(Random(seed).sample(range(count), limit))  # noqa: S311 - reproducible, not secret
    number, parts = part
    if not 1 <= number <= parts:
        raise UserError(f"There is no part {number} of {parts}. Parts are 1/{parts} to {parts}/{parts}.")
    return chosen[number - 1 :: parts]


class Recordings:
    """The recordings of one setting in a folder: one file per picture, so that a run can be stopped at any time.

    Args:
        folder: of the benchmark's results.
        settings, dataset: of the run.
        model: name of the model, and what identifies its weights.
    """

    def __init__(self, folder: Path, settings: Settings, dataset: DataSet, model: Sequence[str]) -> None:
        data = {"dataset": dataset.name, "words": dataset.words_from}
        facts = {"model": list(model), **data, **settings.of_recording()}
        digest = hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()[:12]
        self.folder = folder / "recordings" / digest
        self._facts = facts

    def path(self, example_id: str) -> Path:
        safe = "".join(letter if letter.isalnum() or letter in "-_." else "_" for letter in example_id)
        return self.folder / f"{safe}.safetensors"

    def make(
        self,
        dataset: DataSet,
        chosen: Sequence[int],
        protocol: Protocol,
        settings: Settings,
        record: Record,
        on: OnPicture,
    ) -> None:
        """Record every picture that has no recording yet; each file appears when it is complete."""
        self.folder.mkdir(parents=True, exist_ok=True)
        write_json(self._facts, self.folder / "settings.json")
        for done, index in enumerate(chosen, start=1):
            example = dataset[index]
            path, question = self.path(example.id), protocol.ask(example)
            if question is not None and not path.exists():
                save_recording(record(question, settings), path)
            on(done, len(chosen))


def measure_pictures(
    dataset: DataSet,
    chosen: Sequence[int],
    protocol: Protocol,
    settings: Settings,
    source: Recordings | Baseline,
    on: OnPicture,
) -> list[Measured]:
    """Compare the maps of every picture with its truth.

    Args:
        dataset, chosen: the pictures.
        protocol, settings: see there; pictures that the protocol leaves out, or that have no recording yet, are not
            among the results.
        source: recordings, or a baseline.
        on: called after each picture.
    """
    found = []
    for done, (example, question) in enumerate(_asked(dataset, chosen, protocol), start=1):
        if question is not None:
            maps = _maps(example, question, settings, source)
            if maps is not None:
                found.append(protocol.measure(example, question, maps))
        on(done, len(chosen))
    return found


def _asked(dataset: DataSet, chosen: Sequence[int], protocol: Protocol) -> Iterator[tuple[Example, Question | None]]:
    for index in chosen:
        example = dataset[index]
        yield example, protocol.ask(example)


def _maps(example: Example, question: Question, settings: Settings, source: Recordings | Baseline) -> Tensor | None:
    """Maps of the question's concepts, (C, H, W); None if the picture has no recording yet."""
    if not isinstance(source, Recordings):
        return source(question)
    path = source.path(example.id)
    if not path.exists():
        return None
    recording = load_recording(path)
    if [one.text for one in recording.concepts] != [one.text for one in question.concepts]:
        raise UserError(f"{path} is a recording of other concepts: the data set has changed. Choose another --out.")
    kind = "share" if settings.softmax else "score"
    heatmaps = make_heatmaps(recording, settings.layers, "all", "auto", settings.temperature, kind)  # type: ignore[arg-type]
    if settings.refine != "none":
        size = example.labels.shape[0], example.labels.shape[1]
        heatmaps = REFINEMENTS[settings.refine](heatmaps, from_pil(example.image)[None], size)
    maps = heatmaps.values[0, :, 0] if heatmaps.video else heatmaps.values[0]  # a video of one frame
    if not settings.softmax:  # the authors add the scores up
        maps = maps * len(recording.steps) * len(select_layers(recording, settings.layers))
    return maps
