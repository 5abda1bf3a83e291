"""Workers on a Ray cluster: Ray places them, starts dead ones anew, and gives what they had to do to others."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

from ...errors import UserError
from ..extras import import_extra
from ..items import Shard
from ..worker import Outcome, Worker
from .crew import Crew, finished_silently, portions

_RETRIES = 3  # of a portion whose worker dies, at once
_ROUNDS = 3  # a worker that is just being started anew may use up all of them
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
        # A worker that dies is started anew as often as it takes; the portion that it had is tried again a few times.
        # Hardly a part of a core is asked for, so that a node that is left can take what another one had.
        options = {"num_cpus": 0.01, "num_gpus": gpus, "max_restarts": -1, "max_task_retries": _RETRIES}
        actor = ray.remote(max_concurrency=2, scheduling_strategy="SPREAD", **options)(_Actor)
        actors = [actor.remote(here) for _ in range(min(workers, len(shards)))]
        ended: set[str] = set()
        reason = ""
        todo = list(shards)
        for _ in range(_ROUNDS):
            for result in _results(ray, actors, portions(todo, len(actors)), on_picture):
                if isinstance(result, UserError):
                    raise result
                if isinstance(result, Exception):
                    reason = " ".join(str(result).split())
                    continue
                for outcome in result:
                    ended.add(outcome.shard)
                    yield outcome
                    if outcome.fatal:
                        return
            silent = [shard for shard in shards if shard.name not in ended]
            todo = crew.sink.missing(silent)
            for outcome in finished_silently(silent, todo):
                ended.add(outcome.shard)
                yield outcome
            if not todo:
                return
        for shard in todo:
            yield Outcome(shard.name, 0, f"Its worker was killed {_ROUNDS * (_RETRIES + 1)} times: {reason}")


def _results(
    ray: Any, actors: Sequence[Any], todo: Sequence[Sequence[Shard]], on_picture: Callable[[int], None]
) -> Iterator[list[Outcome] | Exception]:
    """What the actors return for each portion, as they come; progress is reported meanwhile."""
    pool, reported = import_extra("ray.util", "ray").ActorPool(actors), 0
    for portion in todo:
        pool.submit(lambda actor, portion: actor.label.remote(portion), portion)
    while pool.has_next():
        try:
            result = pool.get_next_unordered(timeout=_POLL)
        except TimeoutError:
            result = []
        except ray.exceptions.RayTaskError:  # an exception in the worker that none of its shards is to blame for
            raise
        except ray.exceptions.RayError as error:
            result = error
        with suppress(ray.exceptions.RayError):  # one that is being started anew says nothing
            count = sum(ray.get([actor.count.remote() for actor in actors], timeout=_POLL))
            on_picture(max(0, count - reported))
            reported = max(count, reported)
        yield result


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
        todo = self._crew.sink.missing(shards)  # one that died may have finished some
        return [*finished_silently(shards, todo), *self._worker.label(todo)]

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
