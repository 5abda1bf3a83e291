"""Labelling on Ray, with the colours' labeller: the same bytes as on one machine, also when a worker is killed."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("ray", reason="needs Ray: pip install '.[ray]'")

from concept_attention.errors import UserError
from concept_attention.labelling.engines.ray import run_on_ray
from concept_attention.labelling.sink import FolderSink
from concept_attention.labelling.sources import open_source
from tests.support.labelling import SETTINGS, ColourCrew, tree

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def cluster() -> Iterator[Any]:
    """A cluster on this machine for all tests of the module; the engine leaves it alone."""
    import ray

    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    environment = {"env_vars": {"PYTHONPATH": str(ROOT)}}
    ray.init("local", num_cpus=4, include_dashboard=False, logging_level="ERROR", runtime_env=environment)
    yield ray
    ray.shutdown()


def test_ray_makes_what_one_machine_makes_and_replaces_a_killed_worker(
    cluster: Any, label_folder: Any, photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import psutil

    label_folder(photos, tmp_path / "here", "coco")
    label_folder(photos, tmp_path / "out", "coco", part=(1, 4))  # a part of it is there already
    source, sink = open_source([photos], shard_size=3), FolderSink(tmp_path / "out", "coco", SETTINGS)
    shards = source.shards()
    sink.begin(shards)
    todo = sink.missing(shards)
    assert len(todo) == 3
    killed: list[int] = []
    outcomes = []
    for outcome in run_on_ray(ColourCrew(SETTINGS, source, sink), todo, 2, lambda count: None):
        outcomes.append(outcome)
        if not killed:
            actors = [
                one for one in psutil.process_iter(["cmdline"]) if "ray::_Actor" in " ".join(one.info["cmdline"] or [])
            ]
            killed = [one.pid for one in actors]
            for pid in killed:
                os.kill(pid, signal.SIGKILL)
    assert killed and [outcome.error for outcome in outcomes] == ["", "", ""]
    assert sink.finish(shards, []).complete
    assert tree(tmp_path / "out") == tree(tmp_path / "here")
    assert cluster.is_initialized()


def test_more_gpus_than_there_are_is_an_error(cluster: Any, photos: Path, tmp_path: Path) -> None:
    source, sink = open_source([photos]), FolderSink(tmp_path / "out", "masks", SETTINGS)
    with pytest.raises(UserError, match="needs 1 GPUs and the cluster has 0"):
        list(run_on_ray(ColourCrew(SETTINGS, source, sink), source.shards(), 1, lambda count: None, gpus=1))


def test_a_labeller_works_in_ray_datas_map_batches(cluster: Any) -> None:
    """With the landscape model, and the four CPUs that reading and writing need beside it."""
    import numpy as np
    import ray.data

    from concept_attention.concepts import parse_concepts
    from concept_attention.labelling.labeller import ConceptLabeller
    from concept_attention.labelling.settings import LabelSettings

    settings = LabelSettings(parse_concepts("house", background="sky"), width=64, height=64)
    rows = [{"id": str(number), "image": np.full((32, 32, 3), 40 * number, np.uint8)} for number in range(4)]
    labelled = ray.data.from_items(rows).map_batches(
        ConceptLabeller,
        fn_constructor_kwargs={"settings": settings, "device": "cpu"},
        compute=ray.data.ActorPoolStrategy(size=1),
        batch_size=2,
    )
    found = sorted(labelled.take_all(), key=lambda row: row["id"])
    here = ConceptLabeller(settings, "cpu")({"id": ["2"], "image": [rows[2]["image"]]})
    assert [row["id"] for row in found] == ["0", "1", "2", "3"]
    assert list(found[2]["concepts"]) == ["house"] and found[2]["mask"][0] == here["mask"][0][0]
