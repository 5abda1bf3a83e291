"""The cache by itself: what a digest survives, what is bounded, and what each error says."""

from __future__ import annotations

import threading
from typing import Any

import comfy.model_management
import comfy.nested_tensor
import pytest
import torch
from comfy_execution.utils import CurrentNodeContext
from torch import Tensor

from concept_attention.concepts import Concept
from concept_attention.hosts.comfyui.recording_cache import MAX_EMPTY_RUNS, RecordingCache, digest
from concept_attention.recording.recording import Recording

TOKENS = 64


def latent(seed: int, shape: tuple[int, ...] = (1, 4, 6, 8)) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def recording(seed: int = 0) -> Recording:
    return Recording(
        scores=torch.full((1, 1, 1, 1, TOKENS), float(seed)),
        norms=torch.ones(1, 1, 1, 1),
        layers=(0,),
        layer_count=1,
        default_layers=(0,),
        steps=(0,),
        sigmas=(1.0,),
        grid=(1, 8, 8),
        image_size=(128, 128),
        architecture="flux",
        mode="flux",
        concepts=(Concept("sky", "sky"),),
    )


def held(cache: RecordingCache) -> list[Recording]:
    """The cached recordings, least recently used first."""
    return [run.recording for run in cache._runs if run.recording is not None]


def executing(node: str, item: int | None = None) -> CurrentNodeContext:
    return CurrentNodeContext("prompt", node, item)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16])
def test_a_digest_survives_the_hosts_move(monkeypatch: pytest.MonkeyPatch, dtype: torch.dtype) -> None:
    monkeypatch.setattr(comfy.model_management, "intermediate_dtype", lambda: dtype)
    samples = latent(0)
    moved = samples.to(comfy.model_management.intermediate_device(), dtype, copy=True)
    assert digest(moved) == digest(samples)
    assert digest(samples.to(memory_format=torch.channels_last)) == digest(samples)


def test_a_digest_tells_content_shape_and_order_apart() -> None:
    samples = latent(0, (2, 4, 6, 6))
    changed = samples.clone()
    changed[1, 3, 5, 5] += 1e-6
    others = [changed, samples.flip(0), samples.mT, samples[:1], samples.flatten(2), samples.unsqueeze(2)]
    assert len({digest(other) for other in (samples, *others)}) == 7


def test_a_nested_latent_is_known_by_all_its_parts() -> None:
    first, second = latent(0), latent(1, (1, 8, 5))
    nested = comfy.nested_tensor.NestedTensor([first, second])
    assert digest(nested) == digest(comfy.nested_tensor.NestedTensor([first.clone(), second.clone()]))
    assert digest(nested) != digest(comfy.nested_tensor.NestedTensor([first, second + 1]))


def test_a_recording_is_found_by_every_latent_of_its_run() -> None:
    cache, stored = RecordingCache(), recording()
    cache.put([latent(0), latent(1)], "settings", stored)
    assert cache.find(latent(0)) is stored and cache.find(latent(1)) is stored
    assert cache.find(latent(1), "settings") is stored


def test_the_number_of_recordings_is_bounded_and_the_least_recently_used_is_evicted_first() -> None:
    cache = RecordingCache(max_runs=3)
    for seed in range(3):
        cache.put([latent(seed)], "settings", recording(seed))
    cache.find(latent(0))
    cache.put([latent(3)], "settings", recording(3))
    assert len(held(cache)) == 3
    with pytest.raises(ValueError, match="2 newer runs came after it, and at most 3 recordings and 512 MiB are kept"):
        cache.find(latent(1))
    assert [float(cache.find(latent(seed)).scores[0, 0, 0, 0, 0]) for seed in (0, 2, 3)] == [0, 2, 3]


def test_memory_is_bounded_except_for_the_newest_recording() -> None:
    size = recording().nbytes
    cache = RecordingCache(max_bytes=2 * size)
    for seed in range(5):
        cache.put([latent(seed)], "settings", recording(seed))
        assert sum(one.nbytes for one in held(cache)) <= 2 * size
    assert len(held(cache)) == 2
    small = RecordingCache(max_bytes=size - 1)
    for seed in range(3):
        small.put([latent(seed)], "settings", recording(seed))
        assert len(held(small)) == 1 and small.find(latent(seed)).nbytes == size


def test_the_number_of_runs_without_a_recording_is_bounded_too() -> None:
    cache = RecordingCache(max_runs=1)
    for seed in range(MAX_EMPTY_RUNS + 20):
        cache.put([torch.tensor([float(seed)])], "settings", recording())
    assert len(cache._runs) == MAX_EMPTY_RUNS + 1
    with pytest.raises(ValueError, match="not what a patched MODEL returned"):
        cache.find(torch.tensor([0.0]))
    with pytest.raises(ValueError, match="is gone"):
        cache.find(torch.tensor([20.0]))


def test_the_same_run_again_replaces_the_older_one() -> None:
    cache, newer = RecordingCache(), recording(1)
    cache.put([latent(0)], "settings", recording(0))
    cache.put([latent(0)], "settings", newer)
    assert len(held(cache)) == 1 and cache.find(latent(0)) is newer
    cache.put([latent(0)], "settings", None, "a cache skipped it.")
    with pytest.raises(ValueError, match="a cache skipped it"):
        cache.find(latent(0))


def test_one_latent_with_several_settings_needs_the_model_to_choose() -> None:
    cache, stored = RecordingCache(), {name: recording(seed) for seed, name in enumerate(("sky", "house"))}
    for node, name in enumerate(stored):
        with executing(str(node)):
            cache.put([latent(0)], name, stored[name])
    with pytest.raises(ValueError, match="sampled 2 times.*Connect the patched MODEL"):
        cache.find(latent(0))
    assert all(cache.find(latent(0), name) is stored[name] for name in stored)
    with pytest.raises(ValueError, match="other concepts or settings than those of the connected MODEL"):
        cache.find(latent(0), "tree")


def test_an_evicted_run_still_makes_a_choice_ambiguous() -> None:
    cache = RecordingCache(max_runs=1)
    cache.put([latent(0)], "sky", recording())
    cache.put([latent(0)], "house", recording())
    with pytest.raises(ValueError, match="Connect the patched MODEL"):
        cache.find(latent(0))
    with pytest.raises(ValueError, match="is gone"):
        cache.find(latent(0), "sky")


def test_the_same_node_with_other_concepts_replaces_its_run_and_no_other_nodes() -> None:
    cache, newest = RecordingCache(), recording(9)
    with executing("5"):
        cache.put([latent(0)], "sky", recording())
        cache.put([latent(0)], "house", newest)
    assert cache.find(latent(0)) is newest
    with executing("5", 1):  # the next item of a list
        cache.put([latent(0)], "tree", recording())
    with pytest.raises(ValueError, match="sampled 2 times"):
        cache.find(latent(0))


@pytest.mark.parametrize(
    ("sought", "reason"),
    [
        (latent(9), "content differs.*sampler's own LATENT"),
        (
            latent(9, (1, 4, 12, 16)),
            r"shape \(1, 4, 12, 16\); the latest were of \(1, 4, 6, 8\).*scaled, cropped or split",
        ),
    ],
)
def test_an_unknown_latent_is_told_from_a_changed_one(sought: Tensor, reason: str) -> None:
    cache = RecordingCache()
    with pytest.raises(ValueError, match="none has sampled anything yet"):
        cache.find(sought)
    cache.put([latent(0)], "settings", recording())
    with pytest.raises(ValueError, match=reason):
        cache.find(sought)


def test_several_threads_may_use_it_at_once() -> None:
    cache, errors = RecordingCache(max_runs=4), []

    def work(first: int) -> None:
        for seed in range(first, first + 50):
            cache.put([latent(seed, (1, 2, 2))], "settings", recording())
            try:
                cache.find(latent(seed, (1, 2, 2)))
            except ValueError as error:
                errors.append(str(error))

    threads = [threading.Thread(target=work, args=(1000 * index,)) for index in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=60)
    assert len(held(cache)) == 4 and all("is gone" in error for error in errors)


def test_it_holds_the_recording_itself_and_nothing_of_the_latent(monkeypatch: pytest.MonkeyPatch) -> None:
    import gc
    import weakref

    cache: Any = RecordingCache(max_runs=1)
    samples, stored = latent(0), recording()
    gone = weakref.ref(samples), weakref.ref(stored)
    cache.put([samples], "settings", stored)
    del samples
    gc.collect()
    assert gone[0]() is None and gone[1]() is not None
    del stored
    cache.put([latent(1)], "settings", recording())
    gc.collect()
    assert gone[1]() is None
