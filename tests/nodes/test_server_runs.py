"""Repeated, cached and interrupted runs in one ComfyUI: each has its own recording."""

from __future__ import annotations

import statistics

import pytest
import torch

from concept_attention.recording.recording import Recording

from ..support.server.client import Client, Interrupted
from ..support.server.graph import Node
from ..support.server.landscape import Landscape

MEBIBYTE = 1 << 20
WORDS = "house, sun, sky, grass, tree, boat, moon, cloud, mountain, sand, water, snow"


def record(comfyui: Client, start: Landscape, saved: Node) -> Recording:
    return comfyui.recording(comfyui.run(start.graph), saved)


def test_two_seeds_of_one_cached_graph_are_recorded_apart(comfyui: Client) -> None:
    start = Landscape()
    sampler, saved = start.recorded(seed=1)
    first = record(comfyui, start, saved)
    start.graph.set(sampler, seed=2)
    run = comfyui.run(start.graph)
    second = comfyui.recording(run, saved)
    assert start.loader.number in run.cached and sampler.number not in run.cached
    assert first.scores.shape == second.scores.shape and len(second.steps) == 4
    assert not torch.equal(first.scores, second.scores)
    comfyui.free_memory()
    alone = record(comfyui, start, saved)  # a model that never saw the first seed
    assert torch.equal(alone.scores, second.scores)


def test_a_cached_sampler_still_finds_its_recording(comfyui: Client) -> None:
    start = Landscape()
    sampler, saved = start.recorded(seed=3)
    first = record(comfyui, start, saved)
    again = comfyui.run(start.graph)  # the very same prompt: nothing runs
    assert {sampler.number, saved.number} <= again.cached
    late = start.graph.add("ConceptAttentionCollect", latent=sampler[0], model=[again_model(start, sampler), 0])
    saved_late = start.save_recording(late[0])
    run = comfyui.run(start.graph)
    assert sampler.number in run.cached and late.number not in run.cached
    assert torch.equal(comfyui.recording(run, saved_late).scores, first.scores)


def test_edited_concepts_are_found_though_the_picture_stays_the_same(comfyui: Client) -> None:
    start = Landscape(concepts="house, sky")
    _, saved = start.recorded(seed=4)
    record(comfyui, start, saved)
    start.graph.set(start.encoded, concepts="sun, grass, moon")  # the latent does not depend on them
    assert [concept.name for concept in record(comfyui, start, saved).concepts] == ["sun", "grass", "moon"]


def again_model(start: Landscape, sampler: Node) -> str:
    """The number of the patched model that a sampler uses."""
    number, _ = start.graph.as_prompt()[sampler.number]["inputs"]["model"]
    return str(number)


def test_two_samplers_of_one_patched_model_have_their_own_recordings(comfyui: Client) -> None:
    start = Landscape()
    patched = start.patch()
    saved = []
    for seed in (4, 5):
        sampler = start.sample(patched[0], seed=seed)
        collected = start.graph.add("ConceptAttentionCollect", latent=sampler[0])
        saved.append(start.save_recording(collected[0]))
    run = comfyui.run(start.graph)
    one, two = (comfyui.recording(run, node).scores for node in saved)
    assert not torch.equal(one, two)
    for seed, scores in ((4, one), (5, two)):
        alone = Landscape()
        _, node = alone.recorded(seed=seed)
        assert torch.equal(record(comfyui, alone, node).scores, scores)


def test_batches_are_recorded_picture_by_picture(comfyui: Client) -> None:
    start = Landscape(batch=3, width=128, height=96)
    _, saved = start.recorded()
    recording = record(comfyui, start, saved)
    assert recording.batch == 3 and recording.grid == (1, 6, 8)
    assert not torch.equal(recording.scores[:, :, 0], recording.scores[:, :, 1])


@pytest.mark.parametrize("way", ["patched model", "sampler node", "live preview"])
def test_an_interrupted_run_leaves_the_next_one_clean(comfyui: Client, way: str) -> None:
    start = Landscape(width=256, height=256)
    if way == "patched model":
        sampler, saved = start.recorded(seed=6)
    else:
        wish = {"live_preview": "segmentation"} if way == "live preview" else {}
        sampler = start.sample(start.model, "ConceptAttentionKSampler", concepts=start.encoded[0], seed=6, **wish)
        saved = start.save_recording(sampler[1])
    before = record(comfyui, start, saved)
    start.graph.set(sampler, steps=2000)
    number = comfyui.queue(start.graph)
    comfyui.interrupt_at(number, step=3)
    with pytest.raises(Interrupted):
        comfyui.wait(number)
    start.graph.set(sampler, steps=4, seed=7)
    record(comfyui, start, saved)
    start.graph.set(sampler, seed=6)
    assert torch.equal(record(comfyui, start, saved).scores, before.scores)


def test_many_runs_leave_memory_flat(comfyui: Client) -> None:
    """A leak grows with every run, what the allocator takes in one piece does not: so the median over groups of runs.

    A recording has 0.4 MiB here. `benchmarks/comfyui_memory.py` does two hundred runs.
    """
    start = Landscape(batch=4, concepts=WORDS)
    sampler, saved = start.recorded(steps=8)
    used = []
    for seed in range(8 + 16):  # the first eight fill the cache of recordings
        start.graph.set(sampler, seed=seed)
        assert comfyui.recording(comfyui.run(start.graph), saved).nbytes > 0.35 * MEBIBYTE
        comfyui.server.ask("POST", "/history", {"clear": True})  # ComfyUI keeps that of ten thousand runs
        used.append(comfyui.server.memory())
    groups = used[7::4]
    growth = statistics.median(after - before for before, after in zip(groups, groups[1:], strict=False)) / 4
    assert growth < 0.1 * MEBIBYTE, [round(value / MEBIBYTE, 1) for value in used]
