"""Workers on this machine: one in this process, or several in processes of the standard library's pool."""

from __future__ import annotations

import multiprocessing
import os
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from dataclasses import replace
from typing import Any

from ..items import Shard
from ..worker import Outcome, Worker
from .crew import Crew, finished_silently, portions

_WORSE = 3  # times in a row that workers may die without a shard being finished
_POLL = 0.5  # seconds between two reports of progress


def run_locally(
    crew: Crew, shards: Sequence[Shard], devices: Sequence[str], on_picture: Callable[[int], None]
) -> Iterator[Outcome]:
    """Label shards with a worker per device.

    Args:
        crew: how to make a worker.
        shards: to label.
        devices: one for each worker; a device may be named several times.
        on_picture: called now and then with the number of pictures since the last call.

    Yields:
        How each shard ended. A shard whose worker was killed is done again by another.

    Raises:
        UserError: for settings that the model refuses.
    """
    if len(devices) == 1:
        yield from crew.worker(devices[0], on_picture).label(shards)
        return
    crew, left, deaths = replace(crew, workers=len(devices)), list(shards), 0
    while left:
        ended: set[str] = set()
        try:
            for outcome in _run_pool(crew, left, devices, on_picture):
                ended.add(outcome.shard)
                yield outcome
                if outcome.fatal:
                    return
            return
        except BrokenProcessPool:  # what a dead worker had finished is there, though its pool does not say so
            silent = [shard for shard in left if shard.name not in ended]
            before, left = len(left), list(crew.sink.missing(silent))
            yield from finished_silently(silent, left)
            deaths = deaths + 1 if len(left) == before else 0
            if deaths == _WORSE:
                for shard in left:
                    yield Outcome(shard.name, 0, f"Its worker was killed {_WORSE} times. Is there enough memory?")
                return


def _run_pool(
    crew: Crew, shards: Sequence[Shard], devices: Sequence[str], on_picture: Callable[[int], None]
) -> Iterator[Outcome]:
    context = multiprocessing.get_context("spawn")  # CUDA, and threads, do not survive a fork
    free, count = context.Queue(), context.Value("q", 0)
    for device in devices:
        free.put(device)
    reported = 0
    pool = ProcessPoolExecutor(len(devices), context, _start, (crew, free, count))
    try:
        running = {pool.submit(_label, portion) for portion in portions(shards, len(devices))}
        while running:
            done, running = wait(running, _POLL, FIRST_COMPLETED)
            on_picture(count.value - reported)
            reported = count.value
            for future in done:
                yield from future.result()
    finally:
        pool.shutdown(wait=False, cancel_futures=True)


_worker: Worker | None = None  # of this process


def _start(crew: Crew, free: Any, count: Any) -> None:
    """In a new process: load the model on the next device."""
    global _worker
    threading.Thread(target=_end_with_parent, daemon=True).start()

    def on_picture(pictures: int) -> None:
        with count.get_lock():
            count.value += pictures

    _worker = crew.worker(free.get(), on_picture)


def _end_with_parent() -> None:
    """A pool's process does not notice by itself that the one it works for was killed."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)


def _label(shards: Sequence[Shard]) -> list[Outcome]:
    return list(_worker.label(shards)) if _worker else []
