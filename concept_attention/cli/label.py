"""`concept-attention label`: find concepts in every picture of a data set and write masks in a trainer's layout."""

from __future__ import annotations

import json
import sys
import time
from argparse import Namespace
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from ..errors import UserError
from ..labelling.items import Source, Totals
from ..labelling.manifest import ERRORS, MANIFEST, SHEET, verify
from ..labelling.run import Progress, label
from ..labelling.settings import LabelSettings
from ..labelling.sink import FolderSink
from ..labelling.sources import open_source
from ..labelling.sources.prompts import prompt_source
from .folder import prepared_folder
from .progress import shows_progress

_SETTINGS = (
    "concepts", "model", "dtype", "offload", "prompt", "noise", "samples", "width", "height", "seed", "layers", "mode",
    "pooling", "reader", "temperature", "mask", "threshold", "percentile", "blur", "min_presence", "steps", "guidance",
    "cfg", "negative_prompt", "batch",
)  # fmt: skip
_SHOWN = 5  # errors printed
_EVERY = 0.5  # seconds between two lines of progress


def run(arguments: Namespace) -> int:
    """Run the command; raises `UserError` for arguments that cannot be used.

    Returns:
        0, or 1 if something could not be labelled, or is not as the manifest says.
    """
    if arguments.verify:
        return _verify(arguments)
    _check(arguments)
    settings = LabelSettings(**{name: getattr(arguments, name) for name in _SETTINGS})
    source: Source
    if arguments.generate:
        source = prompt_source(arguments.generate, arguments.shard_size)
    else:
        source = open_source(arguments.dataset, arguments.images, arguments.shard_size)
    began = time.monotonic()
    with prepared_folder(arguments.out) as folder, _progress(arguments) as on_progress:
        sink = FolderSink(
            folder, arguments.format, settings, generated=bool(arguments.generate), caption=arguments.caption
        )
        totals = label(
            source,
            sink,
            settings,
            engine=arguments.engine,
            devices=arguments.devices.split(","),
            workers=arguments.workers,
            part=arguments.part,
            address=arguments.address,
            gpus_per_worker=arguments.gpus_per_worker,
            on_progress=on_progress,
        )
    _report(arguments, totals, time.monotonic() - began)
    return int(bool(totals.failures))


def _check(arguments: Namespace) -> None:
    if bool(arguments.dataset) == bool(arguments.generate):
        raise UserError("Give a data set, or --generate PROMPTS.txt to make one, or --verify DIR to check one.")
    if not arguments.concepts:
        raise UserError("There are no concepts. Name what to look for with --concepts.")
    if not arguments.out:
        raise UserError("There is no folder for the labels. Name one with --out.")


def _verify(arguments: Namespace) -> int:
    found = verify(arguments.verify)
    if arguments.json:
        print(json.dumps({"files": found.files, **{kind: getattr(found, kind) for kind in _KINDS}}, ensure_ascii=False))
    else:
        print(f"{arguments.verify}: {found.files} files in {MANIFEST}")
        for kind, meaning in _KINDS.items():
            paths = getattr(found, kind)
            if paths:
                print(f"  {len(paths)} {meaning}: {', '.join(paths[:_SHOWN])}{', ...' if len(paths) > _SHOWN else ''}")
        print("All are there and unchanged." if found.intact else "Label into another folder, or restore these files.")
    return int(not found.intact)


_KINDS = {"missing": "missing", "changed": "changed", "unknown": "not in the manifest"}


@contextmanager
def _progress(arguments: Namespace) -> Iterator[Callable[[Progress], None]]:
    """Progress as one line that is written anew, on terminals only; with --json as lines for machines on stdout."""
    shown, last = shows_progress(arguments.quiet), 0.0

    def update(progress: Progress) -> None:
        nonlocal last
        now = time.monotonic()
        if now - last < _EVERY and progress.shards_done < progress.shards:
            return
        last = now
        if arguments.json:
            print(json.dumps(_numbers(progress)), flush=True)
        elif shown:
            print(f"\r\033[K{progress_line(progress)}", end="", file=sys.stderr, flush=True)

    try:
        yield update
    finally:
        if shown and not arguments.json:
            print("\r\033[K", end="", file=sys.stderr, flush=True)


def _numbers(progress: Progress) -> dict[str, Any]:
    rate = progress.done / progress.seconds if progress.seconds else 0.0
    left = (progress.total - progress.done) / rate if rate and progress.total is not None else None
    return {
        "done": progress.done,
        "total": progress.total,
        "shards_done": progress.shards_done,
        "shards": progress.shards,
        "seconds": round(progress.seconds, 1),
        "pictures_per_second": round(rate, 2),
        "seconds_left": None if left is None else round(left),
    }


def progress_line(progress: Progress) -> str:
    """How far a run is, in one line.

    >>> progress_line(Progress(done=1200, total=6000, shards_done=12, shards=60, seconds=60))
    'Labelling: 1,200 of 6,000 pictures, 20.0 a second, 4:00 left'
    """
    numbers = _numbers(progress)
    total = "" if progress.total is None else f" of {progress.total:,}"
    left = numbers["seconds_left"]
    time_left = "" if left is None else f", {_clock(left)} left"
    return f"Labelling: {progress.done:,}{total} pictures, {numbers['pictures_per_second']:.1f} a second{time_left}"


def _clock(seconds: int) -> str:
    minutes, seconds = divmod(seconds, 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{seconds:02}" if hours else f"{minutes}:{seconds:02}"


def _report(arguments: Namespace, totals: Totals, seconds: float) -> None:
    if arguments.json:
        failures = [vars(failure) for failure in totals.failures]
        facts = {"pictures": totals.pictures, "left_out": totals.left_out, "complete": totals.complete}
        print(json.dumps({**facts, "errors": failures, "seconds": round(seconds, 1)}, ensure_ascii=False))
        return
    print(f"{totals.pictures:,} pictures labelled in {arguments.out} ({seconds:.1f} s).")
    if totals.left_out:
        print(f"{totals.left_out:,} left out: no concept is present.")
    if totals.failures:
        print(f"{len(totals.failures):,} could not be labelled, see {arguments.out / ERRORS}:")
        for failure in totals.failures[:_SHOWN]:
            print(f"  {failure.file_name or failure.id}: {failure.error}")
    if not totals.complete:
        print("Some shards are not there yet: run the same command again, or the other parts, to go on.")
    elif totals.pictures:
        print(f"Look at {arguments.out / SHEET} before you train on them.")
