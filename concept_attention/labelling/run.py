"""Label a data set from Python."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from ..choices import ENGINES, Engine, check_choice
from ..errors import UserError
from .engines.crew import Crew
from .engines.local import run_locally
from .engines.ray import run_on_ray
from .items import Failure, Shard, Sink, Source, Totals
from .settings import LabelSettings
from .worker import Outcome


@dataclass(frozen=True)
class Progress:
    """How far a run is.

    Attributes:
        done: pictures of this run so far.
        total: of this run; None while it is not known, an estimate while archives are read.
        shards_done, shards: of this run.
        seconds: since the workers began to load.
    """

    done: int
    total: int | None
    shards_done: int
    shards: int
    seconds: float


def label(
    source: Source,
    sink: Sink,
    settings: LabelSettings,
    *,
    engine: Engine = "local",
    devices: Sequence[str] = ("auto",),
    workers: int | None = None,
    part: tuple[int, int] = (1, 1),
    address: str | None = None,
    gpus_per_worker: float | None = None,
    on_progress: Callable[[Progress], None] = lambda progress: None,
) -> Totals:
    """Label the pictures of a source that the sink has no labels of.

    Run again after an interruption, it goes on; what the sink holds in the end is the same.

    Args:
        source: of pictures: from `open_source`, or anything with the methods of `Source`.
        sink: for labels: a `FolderSink`, or anything with the methods of `Sink`.
        settings: what to look for, and how.
        engine: `local`, or `ray`.
        devices: of the workers on this machine: `auto` is every CUDA device, else the best there is.
        workers: how many; None is one per device, on Ray as many as fit.
        part: (i, n): only every n-th shard, beginning with the i-th from 1, where n runs share the work.
        address, gpus_per_worker: see `run_on_ray`.
        on_progress: called now and then.

    Returns:
        What is finished, also by other parts.

    Raises:
        UserError: for options that cannot be used; and as `ConceptLabeller`, the source, and the sink.

    Example:
        >>> import tempfile
        >>> from pathlib import Path
        >>> from PIL import Image
        >>> from concept_attention import FolderSink, LabelSettings, label, open_source, parse_concepts
        >>> folder = Path(tempfile.mkdtemp())
        >>> (folder / "photos").mkdir()
        >>> Image.new("RGB", (96, 64), "skyblue").save(folder / "photos" / "beach.jpg")
        >>> settings = LabelSettings(parse_concepts("house", background="sky, grass"))
        >>> sink = FolderSink(folder / "labels", "masks", settings)
        >>> label(open_source([folder / "photos"]), sink, settings, devices=["cpu"]).pictures
        1
        >>> (folder / "labels" / "masks" / "house" / "beach.png").is_file()
        True
    """
    check_choice("engine", engine, ENGINES)
    index, parts = part
    if not 1 <= index <= parts:
        raise UserError(f"A part is I/N with I from 1 to N, got {index}/{parts}.")
    shards = list(source.shards())
    sink.begin(shards)
    todo = sink.missing(shards[index - 1 :: parts])
    crew = Crew(settings, source, sink)
    tracker = _Tracker(todo, on_progress)
    failures: list[Failure] = []
    if todo and engine == "ray":
        outcomes = run_on_ray(crew, todo, workers, tracker.add, address=address, gpus=gpus_per_worker)
    else:
        outcomes = run_locally(crew, todo, pick_devices(devices, workers), tracker.add) if todo else iter(())
    for outcome in outcomes:
        tracker.end(outcome)
        if outcome.error:
            failures.append(Failure(outcome.shard, "", f"The shard was not labelled: {outcome.error}"))
    return sink.finish(shards, [*source.problems(), *failures])


def pick_devices(devices: Sequence[str], workers: int | None) -> list[str]:
    """A device for each worker, in turn if there are more workers than devices."""
    import torch

    named = [device for device in devices if device]
    if named == ["auto"] and torch.cuda.is_available():
        named = [f"cuda:{number}" for number in range(torch.cuda.device_count())]
    if not named:
        raise UserError("There is no device. Name at least one, or auto.")
    return [named[number % len(named)] for number in range(workers or len(named))]


class _Tracker:
    """Counts pictures and shards for `on_progress`."""

    def __init__(self, shards: Sequence[Shard], report: Callable[[Progress], None]) -> None:
        self._shards, self._report = len(shards), report
        counts = [shard.count for shard in shards]
        self._total = None if None in counts else sum(count or 0 for count in counts)
        self._done = self._ended = self._counted = 0
        self._began = time.monotonic()

    def add(self, pictures: int) -> None:
        self._done += pictures
        self._tell()

    def end(self, outcome: Outcome) -> None:
        self._ended += 1
        self._counted += outcome.pictures
        self._done = max(self._done, self._counted)  # pictures that could not be read count as well
        self._tell()

    def _tell(self) -> None:
        total = self._total
        if total is None and self._ended:
            total = max(self._done, round(self._counted / self._ended * self._shards))
        seconds = time.monotonic() - self._began
        self._report(Progress(self._done, total, self._ended, self._shards, seconds))
