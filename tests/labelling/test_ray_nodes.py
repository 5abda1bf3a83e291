"""A cluster of two nodes on the loopback interface, one of which dies while it works."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("ray", reason="needs Ray: pip install '.[ray]'")

from concept_attention.labelling.engines.ray import run_on_ray
from concept_attention.labelling.sink import FolderSink
from concept_attention.labelling.sources import open_source
from tests.support.labelling import SETTINGS, ColourCrew


@pytest.fixture
def nodes() -> Iterator[Any]:
    """Ray's own cluster for tests: a node process each, with one CPU."""
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    from ray.cluster_utils import Cluster

    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1, "include_dashboard": False})
    yield cluster
    cluster.shutdown()


def test_when_a_node_dies_the_others_do_its_work(
    nodes: Any, label_folder: Any, photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import ray

    label_folder(photos, tmp_path / "here", "coco")
    second = nodes.add_node(num_cpus=1)
    monkeypatch.setenv("PAUSE", "0.02")
    source, sink = open_source([photos], shard_size=1), FolderSink(tmp_path / "out", "coco", SETTINGS)
    shards = source.shards()
    sink.begin(shards)
    alive: list[int] = []
    outcomes = []
    for outcome in run_on_ray(ColourCrew(SETTINGS, source, sink), shards, 2, lambda count: None, address=nodes.address):
        outcomes.append(outcome)
        if not alive:
            alive.append(sum(node["Alive"] for node in ray.nodes()))
            nodes.remove_node(second, allow_graceful=False)
    assert alive == [2]
    assert sorted(outcome.shard for outcome in outcomes) == [shard.name for shard in shards]
    assert {outcome.error for outcome in outcomes} == {""}
    assert sink.finish(shards, []).complete
    assert not ray.is_initialized()
    assert (tmp_path / "out" / "annotations.json").read_bytes() == (tmp_path / "here" / "annotations.json").read_bytes()
