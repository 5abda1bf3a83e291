"""Workers on a Ray cluster: Ray places them, starts dead ones anew, and gives what they had to do to others."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from ...errors import UserError
from ..extras import import_extra
from ..items import Shard
from ..worker import Outcome, Worker
from .crew import Crew, portions

_RESTARTS = 10  # of a worker, before it is given up with what it was doing
_POLL = 1.0  # seconds between two reports of progress


def run_on_ray(
    crew: Crew,
    shards: Sequence[Shard],
    workers: int | None,
    on_picture: Callable[[int], None],
    *,
    address: str | None = None,
    gpus: float | None = None,
) -> Iterator[Outcome]:
    """Label shards with actors of a Ray cluster that all see the same folders.

    Args:
        crew: how to make a worker.
        shards: to label.
        workers: how many; None is as many as the cluster has GPUs for, or without GPUs one for every two cores.
        on_picture: called now and then with the number of pictures since the last call.
        address: of a running cluster, or `auto` for the one of this machine; None starts one here, for this run.
        gpus: of a worker, may be a fraction; None is one where the cluster has GPUs.

    Yields:
        How each shard ended.

    Raises:
        UserError: if Ray is not installed, the cluster cannot be reached or has not what a worker needs, and for
            settings that the model refuses.
    """
    ray = import_extra("ray", "ray")
    with _cluster(ray, address):
        resources = ray.cluster_resources()
        all_gpus, all_cpus = resources.get("GPU", 0.0), resources.get("CPU", 1.0)
        gpus = min(1.0, all_gpus) if gpus is None else gpus
        if gpus > all_gpus:
            raise UserError(f"A worker needs {gpus:g} GPUs and the cluster has {all_gpus:g}. Lower --gpus-per-worker.")
        workers = workers or max(1, int(all_gpus / gpus) if gpus else int(all_cpus / 2))
        nodes = sum(node["Alive"] for node in ray.nodes())
        here = replace(crew, workers=max(1, -(-workers // nodes)))
        cpus = 0.25 if gpus else 1
        # Ray starts a worker that dies anew, where there is room, and gives it what it had to do once more.
        options = {"num_cpus": cpus, "num_gpus": gpus, "max_restarts": _RESTARTS, "max_task_retries": -1}
        actor = ray.remote(max_concurrency=2, **options)(_Actor)
        todo = portions(shards, workers)
        yield from _run(ray, [actor.remote(here) for _ in range(min(workers, len(todo)))], todo, on_picture)


def _run(
    ray: Any, actors: list[Any], todo: Sequence[Sequence[Shard]], on_picture: Callable[[int], None]
) -> Iterator[Outcome]:
    """Give every idle actor the next portion, and report progress meanwhile.

    Actors for which nothing is left are ended: one that is to be started anew may be waiting for their place.
    """
    waiting = list(reversed(todo))
    running: dict[Any, tuple[Any, Sequence[Shard]]] = {}
    reported = 0
    while waiting or running:
        while actors and waiting:
            actor, portion = actors.pop(), waiting.pop()
            running[actor.label.remote(portion)] = actor, portion
        while actors and not waiting:
            ray.kill(actors.pop())
        if not running:
            break
        done, _ = ray.wait(list(running), timeout=_POLL)
        count = _count(ray, [actor for actor, _ in running.values()])
        on_picture(max(0, count - reported))
        reported = max(count, reported)
        for task in done:
            actor, portion = running.pop(task)
            try:
                result = ray.get(task)
            except ray.exceptions.RayActorError as error:
                reason = f"Its worker was killed {_RESTARTS + 1} times: {' '.join(str(error).split())}"
                yield from (Outcome(shard.name, 0, reason) for shard in portion)
                continue
            actors.append(actor)
            if isinstance(result, UserError):
                raise result
            for outcome in result:
                yield outcome
                if outcome.fatal:
                    return
    for portion in waiting:
        yield from (Outcome(shard.name, 0, "No worker is left for it.") for shard in portion)


def _count(ray: Any, actors: Sequence[Any]) -> int:
    """Pictures that the actors have labelled; those that are being started anew say nothing."""
    try:
        return sum(ray.get([actor.count.remote() for actor in actors], timeout=_POLL))
    except ray.exceptions.RayError:  # a timeout is one of these
        return 0


class _Actor:
    """A worker in a process of Ray's."""

    def __init__(self, crew: Crew) -> None:
        self._crew, self._done = crew, 0
        self._worker: Worker | None = None

    def label(self, shards: Sequence[Shard]) -> list[Outcome] | UserError:
        """Label shards; what a user can mend is returned, as Ray wraps what is raised."""
        try:
            self._worker = self._worker or self._crew.worker("auto", self._add)
        except UserError as error:
            return error
        todo = self._crew.sink.missing(shards)  # a worker that died may have finished some
        names = {shard.name for shard in todo}
        there = [Outcome(shard.name, shard.count or 0) for shard in shards if shard.name not in names]
        return [*there, *self._worker.label(todo)]

    def count(self) -> int:
        """Pictures so far; called while the other method runs."""
        return self._done

    def _add(self, pictures: int) -> None:
        self._done += pictures


@contextmanager
def _cluster(ray: Any, address: str | None) -> Iterator[None]:
    """A connection to a cluster, or a cluster of this machine's for the time of the block."""
    if ray.is_initialized():  # by the caller, whose it stays
        yield
        return
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    # The checkout, where that is at the same place everywhere; elsewhere the package has to be installed.
    variables = {"PYTHONPATH": str(Path(__file__).resolve().parents[3]), "TRANSFORMERS_VERBOSITY": "error"}
    try:
        ray.init(
            address or "local",
            runtime_env={"env_vars": variables},
            include_dashboard=None if address else False,
            logging_level="ERROR",
        )
    except (ConnectionError, RuntimeError, ValueError) as error:
        raise UserError(f"The Ray cluster {address or 'here'} cannot be used: {error}. Is it running?") from error
    try:
        yield
    finally:
        ray.shutdown()
