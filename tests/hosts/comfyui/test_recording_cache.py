"""The cache by itself: what a digest survives, what is bounded, and what each error says."""

from __future__ import annotations

import threading
from dataclasses import replace
from typing import Any

import comfy.model_management
import comfy.nested_tensor
import pytest
import torch
from comfy_execution.graph import DynamicPrompt
from comfy_execution.utils import CurrentNodeContext
from torch import Tensor

from concept_attention.concepts import Concept
from concept_attention.hosts.comfyui.graph_place import Asked, who_asks
from concept_attention.hosts.comfyui.recording_cache import (
    MAX_EMPTY_RUNS,
    MAX_SUPERSEDED,
    NothingRecorded,
    RecordingCache,
)
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


def executing(node: str, item: int | None = None, prompt: str = "prompt") -> CurrentNodeContext:
    return CurrentNodeContext(prompt, node, item)


SIZE = recording().nbytes


def value(found: Recording) -> float:
    """What `recording` was called with."""
    return float(found.scores.flatten()[0])


def test_a_recording_is_found_by_every_latent_of_its_run() -> None:
    cache, stored = RecordingCache(), recording()
    cache.put([latent(0), latent(1)], "settings", stored)
    assert cache.find(latent(0)) is stored and cache.find(latent(1)) is stored
    assert cache.find(latent(1), "settings") is stored


def clip(seed: int = 0, frames: int = 5) -> Tensor:
    return latent(seed, (1, 4, frames, 2, 3))


def video(frames: int = 5, counts: tuple[int, ...] | None = (1, 4, 4, 4, 4)) -> Recording:
    """Of `clip`; every token's score is its latent frame's number."""
    scores = torch.arange(frames).float().repeat_interleave(6).expand(1, 1, 1, 1, 6 * frames)
    masks = torch.arange(frames).float()[:, None, None].expand(1, 1, frames, 4, 6) / 10
    regions: dict[str, Any] = {"regions": ("sky",), "region_masks": masks}
    return replace(recording(), scores=scores, grid=(frames, 2, 3), image_size=(32, 48), frame_counts=counts, **regions)


@pytest.mark.parametrize(("start", "stop", "counts"), [(1, 5, (1, 4, 4, 4)), (0, 3, (1, 4, 4)), (2, 3, (1,))])
def test_a_video_that_lost_frames_has_the_maps_of_the_others(start: int, stop: int, counts: tuple[int, ...]) -> None:
    """As of a reference picture before it, or of guides behind it; it is decoded as a video that begins there."""
    cache = RecordingCache()
    cache.put([clip(), clip(1)], "settings", video(), unchanged=clip(2))
    for samples in (clip(), clip(1)):
        cut = samples[:, :, start:stop]
        found = cache.find(cut)
        assert found.grid == (stop - start, 2, 3) and found.frame_counts == counts
        assert torch.equal(found.scores.flatten(), torch.arange(start, stop).float().repeat_interleave(6))
        assert found.region_masks is not None and torch.equal(
            found.region_masks, video().region_masks[:, :, start:stop]
        )
        assert torch.equal(cache.find_unchanged(cut), clip(2)[:, :, start:stop])
    for other in (clip()[:, :, [0, 2]], torch.cat([clip(3, 1), clip()], 2), clip()[..., :2]):
        with pytest.raises(ValueError, match="latent frames"):
            cache.find(other)


def test_a_video_is_found_without_its_sound() -> None:
    cache, whole = RecordingCache(), video()
    sound = latent(5, (1, 8, 5, 16))
    cache.put([comfy.nested_tensor.NestedTensor([clip(), sound])], "settings", whole)
    assert cache.find(clip()) is whole
    assert cache.find(clip()[:, :, 1:]).grid == (4, 2, 3)
    with pytest.raises(ValueError, match="another MODEL"):
        cache.find(sound)


def test_frames_cannot_be_told_apart_where_several_share_a_token() -> None:
    cache = RecordingCache()
    cache.put([clip(frames=6)], "settings", video(3, None))
    with pytest.raises(ValueError, match="6 latent frames share 3 frames of tokens.*from the sampler itself"):
        cache.find(clip(frames=6)[:, :, 2:])


def test_memory_is_bounded_and_the_least_recently_used_is_evicted_first() -> None:
    cache = RecordingCache(max_bytes=3 * SIZE)
    for seed in range(3):
        cache.put([latent(seed)], "settings", recording(seed))
    cache.find(latent(0))
    cache.put([latent(3)], "settings", recording(3))
    assert len(held(cache)) == 3
    with pytest.raises(ValueError, match="2 newer runs came after it, and at most .* MiB are kept") as caught:
        cache.find(latent(1))
    assert "another seed" not in str(caught.value)  # that would evict it as well
    assert [value(cache.find(latent(seed))) for seed in (0, 2, 3)] == [0, 2, 3]


def test_as_many_as_fit_are_kept() -> None:
    cache = RecordingCache()
    for seed in range(40):
        cache.put([latent(seed)], "settings", recording(seed))
    assert [value(cache.find(latent(seed))) for seed in range(40)] == list(range(40))


def test_the_newest_recording_stays_even_if_it_is_larger_than_the_budget() -> None:
    small = RecordingCache(max_bytes=SIZE - 1)
    for seed in range(3):
        small.put([latent(seed)], "settings", recording(seed))
        assert len(held(small)) == 1 and value(small.find(latent(seed))) == seed


@pytest.mark.parametrize("cached", [False, True], ids=["in one execution", "the sampler's from an earlier one"])
def test_the_tiles_of_an_upscaler_do_not_evict_the_sampler_s_recording(cached: bool) -> None:
    """UltimateSDUpscale samples 16 tiles with the sampler's patched MODEL before the recording is collected."""
    cache = RecordingCache(max_bytes=4 * SIZE)
    with executing("sampler", prompt="earlier" if cached else "prompt"):
        cache.put([latent(0)], "settings", recording(0))
    with executing("upscaler"):
        for tile in range(1, 17):
            cache.put([latent(tile)], "settings", recording(tile))
    assert value(cache.find(latent(0), asked=Asked("sampler"))) == 0
    assert value(cache.find(latent(16))) == 16
    assert len(held(cache)) == 4


def test_a_list_of_seeds_is_kept_while_its_graph_is_executing_and_evicted_afterwards() -> None:
    cache = RecordingCache(max_bytes=4 * SIZE)
    for seed in range(12):
        with executing("sampler", seed):
            cache.put([latent(seed)], "settings", recording(seed))
    assert [value(cache.find(latent(seed), asked=Asked("sampler", seed))) for seed in range(12)] == list(range(12))
    with executing("other", prompt="next"):
        cache.put([latent(99)], "settings", recording(99))
    assert [value(one) for one in held(cache)] == [9, 10, 11, 99]


def test_few_recordings_of_a_node_that_runs_again_and_again_are_kept() -> None:
    """Memory does not grow to the budget with every seed that is tried."""
    cache = RecordingCache()
    for seed in range(40):
        with executing("sampler", prompt=f"prompt {seed}"):
            cache.put([latent(seed)], "settings", recording(seed))
    assert [value(one) for one in held(cache)] == list(range(39 - MAX_SUPERSEDED, 40))


def test_the_number_of_runs_without_a_recording_is_bounded_too() -> None:
    cache = RecordingCache(max_bytes=1)
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
    with pytest.raises(NothingRecorded, match="nothing was recorded: a cache skipped it"):
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
    cache = RecordingCache(max_bytes=1)
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


def test_after_renumbering_the_run_of_the_graph_at_hand_counts() -> None:
    """ "Convert to Subgraph" gives the sampler another id; its latent stays the same."""
    cache = RecordingCache()
    with executing("7", prompt="first"):
        cache.put([latent(0)], "sky", recording(1))
    with executing("12:7", prompt="second"):
        cache.put([latent(0)], "house", recording(2))
    assert value(cache.find(latent(0))) == 2
    assert value(cache.find(latent(0), asked=Asked("12:7", nodes=["12:7", "3"]))) == 2
    assert value(cache.find(latent(0), asked=Asked(None, nodes=["12:7", "3"]))) == 2
    with executing("5", prompt="third"):  # nothing of the sampler ran again
        cache.put([latent(5)], "house", recording(5))
    assert value(cache.find(latent(0), asked=Asked("12:7"))) == 2


def test_of_two_samplers_in_a_graph_the_wired_one_counts() -> None:
    cache = RecordingCache()
    for node, settings in (("1", "sky"), ("2", "house")):
        with executing(node):
            cache.put([latent(0)], settings, recording(int(node)))
    assert [value(cache.find(latent(0), asked=Asked(node, 0, ["1", "2"]))) for node in "12"] == [1, 2]
    with executing("1", prompt="next"):  # the other one is cached
        cache.put([latent(0)], "tree", recording(3))
    assert [value(cache.find(latent(0), asked=Asked(node, 0, ["1", "2"]))) for node in "12"] == [3, 2]
    with pytest.raises(ValueError, match="sampled 2 times"):  # wired through a node that hands the latent on
        cache.find(latent(0), asked=Asked("9", 0, ["1", "2", "9"]))


def test_who_asks_is_read_from_the_graph() -> None:
    graph = DynamicPrompt(
        {
            "12:7": {"class_type": "KSampler", "inputs": {"seed": 1}},
            "3": {"class_type": "ConceptAttentionCollect", "inputs": {"latent": ["12:7", 0]}},
        }
    )
    assert who_asks(graph, "latent") == Asked() and who_asks(None, "latent") == Asked()
    with executing("3", 2):
        assert who_asks(graph, "latent") == Asked("12:7", 2, {"12:7", "3"})
        assert who_asks(None, "latent") == Asked()


def test_of_a_list_of_concepts_the_item_at_hand_counts() -> None:
    cache = RecordingCache()
    for item, settings in enumerate(("sky", "house", "tree")):
        with executing("1", item):
            cache.put([latent(0)], settings, recording(item))
    assert [value(cache.find(latent(0), asked=Asked("1", item))) for item in range(3)] == [0, 1, 2]


def test_a_latent_put_together_from_several_runs_is_told_from_a_changed_one() -> None:
    """Tiled samplers run the model once for each tile."""
    cache = RecordingCache()
    with executing("4"):
        for tile in range(3):
            cache.put([latent(tile)], "settings", recording())
    with pytest.raises(ValueError, match="ran the patched MODEL 3 times and put the latent together"):
        cache.find(latent(9), asked=Asked("4"))
    with pytest.raises(ValueError, match="content differs.*put together from several runs"):
        cache.find(latent(9), asked=Asked("5"))


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
    cache, errors = RecordingCache(max_bytes=4 * SIZE), []

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

    cache: Any = RecordingCache(max_bytes=1)
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
