"""Recorded sampling runs: the latent is bit-identical, nothing is left behind, and scores belong to their steps."""

from __future__ import annotations

import contextlib
import dataclasses
import gc
import inspect
import math
import threading
import types
import weakref
from collections.abc import Iterator
from typing import Any

import comfy.context_windows
import comfy.model_management
import comfy.sample
import comfy.samplers
import pytest
import torch
from comfy.patcher_extension import WrappersMP
from torch import Tensor

from concept_attention.heatmaps.heatmaps import make_heatmaps
from concept_attention.hosts import collector as collector_module
from concept_attention.hosts.comfyui.engine import reading as reading_module
from concept_attention.hosts.comfyui.engine import run as run_module
from concept_attention.hosts.comfyui.engine import session as session_module
from concept_attention.hosts.comfyui.engine.chunks import chunk_rows
from concept_attention.hosts.comfyui.engine.prompts import UnknownRegion
from concept_attention.hosts.comfyui.engine.run import record
from concept_attention.hosts.comfyui.engine.session import KEY
from concept_attention.hosts.comfyui.engine.settings import Settings

from ....support.comfyui.recording_spy import footprint, make_encoded, recording_model, recording_of, sample_and_record
from ....support.comfyui.tiny import Conditioning, make_cond, make_flux, make_latent, sample
from ....support.numbers import relative_error
from ....support.threads import in_a_thread

CLOSE = 1e-5
SAMPLERS = ("euler", "dpmpp_2m", "heun", "dpmpp_sde", "uni_pc", "lcm")
SHAPES = {"square": (8, 8), "3:2": (8, 12), "odd": (9, 7)}


@pytest.fixture(scope="module")
def small() -> Any:
    """A model for many runs. Do not change it: tests share it."""
    return make_flux(joint_blocks=2, single_blocks=1)


def schedule(model: Any, steps: int, sampler_name: str = "euler") -> list[float]:
    kind = comfy.samplers.KSampler(model, steps, torch.device("cpu"), sampler_name, "simple", 1.0, {})
    return kind.sigmas[:-1].tolist()


# Recording changes nothing


@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES.keys())
@pytest.mark.parametrize("batch", [1, 3])
@pytest.mark.parametrize("cfg", [1.0, 4.0])
@pytest.mark.parametrize("sampler_name", SAMPLERS)
def test_the_latent_is_bit_identical_and_every_step_is_recorded_once(
    small: Any, sampler_name: str, cfg: float, batch: int, shape: tuple[int, int]
) -> None:
    """With prompts of different length, which ComfyUI evaluates one after the other."""
    options = {"sampler_name": sampler_name, "cfg": cfg, "latent": torch.zeros(batch, 16, *shape)}
    before = footprint(small)
    with torch.inference_mode():
        plain = sample(small, **options)
    latent, result = sample_and_record(small, **options)
    assert torch.equal(latent, plain)
    assert footprint(small) == before
    assert result.recording is not None, result.reason
    assert result.recording.batch == batch
    assert result.recording.steps == (0, 1, 2)
    assert result.recording.sigmas == pytest.approx(schedule(small, 3, sampler_name), abs=2e-4)
    assert result.recording.metadata["steps"] == "3 of 3 steps recorded"


def residual(model: Any) -> Any:
    """What a ControlNet does to the blocks, by the dict that ComfyUI hands the network."""

    def add(executor: Any, *args: Any, **kwargs: Any) -> Any:
        generator = torch.Generator().manual_seed(7)
        control = {"input": [0.1 * torch.randn(1, 24, 128, generator=generator)], "output": []}
        return executor(*args[:4], control, *args[5:], **kwargs)

    clone = model.clone()
    clone.add_wrapper_with_key(WrappersMP.APPLY_MODEL, "control", add)
    return clone


def other_pack(model: Any) -> Any:
    """Another pack's block replacement and attention override, on the same blocks."""

    def replace(args: dict[str, Any], extra: dict[str, Any]) -> dict[str, Any]:
        out = extra["original_block"](args)
        return {"img": out["img"] * 1.01, "txt": out["txt"]}

    def override(func: Any, *args: Any, **kwargs: Any) -> Tensor:
        return func(*args, **kwargs) * 0.98

    clone = model.clone()
    for layer in range(2):
        clone.set_model_patch_replace(replace, "dit", "double_block", layer)
    clone.model_options["transformer_options"]["optimized_attention_override"] = override
    return clone


def attention_patch(model: Any) -> Any:
    """A patch that changes queries, keys and values in place, and one of the output."""

    def before(q: Tensor, k: Tensor, v: Tensor, **_: Any) -> dict[str, Tensor]:
        v *= 0.9
        return {"q": q, "k": k, "v": v}

    clone = model.clone()
    clone.set_model_patch(before, "attn1_patch")
    clone.set_model_patch(lambda attn, extra: attn * 0.9, "attn1_output_patch")
    return clone


MASK = torch.zeros(1, 1, 12, 8)
MASK[..., 4:] = 1


@pytest.mark.parametrize(
    "change, options",
    [
        (residual, {}),
        (other_pack, {}),
        (attention_patch, {}),
        (lambda model: model, {"noise_mask": MASK, "latent": make_latent(), "denoise": 0.6}),
        (lambda model: model, {"negative": make_cond(seed=3)}),  # of the same length: evaluated together
    ],
    ids=["control residual", "block replacement and override", "attention patches", "noise mask", "one batch"],
)
@pytest.mark.parametrize("cfg", [1.0, 4.0])
def test_the_latent_is_bit_identical_with_what_else_takes_part(
    small: Any, change: Any, options: dict[str, Any], cfg: float
) -> None:
    model = change(small)
    before = footprint(model)
    with torch.inference_mode():
        plain = sample(model, cfg=cfg, **options)
    latent, result = sample_and_record(model, cfg=cfg, **options)
    assert torch.equal(latent, plain)
    assert footprint(model) == before
    assert result.recording is not None and result.recording.metadata["steps"] == "3 of 3 steps recorded"


# Only the positive prompt's rows


@pytest.mark.parametrize("tokens, calls", [(7, 1), (5, 2)], ids=["in one batch", "one after the other"])
def test_only_the_positive_rows_of_a_guided_run_are_recorded(small: Any, tokens: int, calls: int) -> None:
    """In the first step both runs see the same latent."""
    model, seen = small.clone(), []

    def spy(executor: Any, *args: Any, **kwargs: Any) -> Any:
        seen.append(args[0].shape[0])
        return executor(*args, **kwargs)

    model.add_wrapper_with_key(WrappersMP.APPLY_MODEL, "spy", spy)
    latent = torch.zeros(2, 16, 12, 8)
    guided = recording_of(model, cfg=4.0, negative=make_cond(tokens, seed=3), latent=latent, steps=1)
    assert seen == [4 // calls] * calls
    plain = recording_of(small, latent=latent, steps=1)
    negative = recording_of(small, positive=make_cond(tokens, seed=3), latent=latent, steps=1)
    assert relative_error(guided.scores, plain.scores) < CLOSE
    assert relative_error(guided.scores, negative.scores) > 100 * CLOSE


def test_a_batch_equals_single_runs(small: Any) -> None:
    noise = make_latent(batch=3, seed=11)

    def run(noise: Tensor) -> tuple[Tensor, Any]:
        results: list[Any] = []
        guider = comfy.samplers.CFGGuider(recording_model(small, results))
        guider.set_conds(make_cond(), make_cond(tokens=5, seed=3))
        guider.set_cfg(3.0)
        sampler = comfy.samplers.sampler_object("euler")
        sigmas = torch.tensor([1.0, 0.7, 0.3, 0.0])
        out = guider.sample(noise, torch.zeros_like(noise), sampler, sigmas, disable_pbar=True)
        return out, results[0].recording

    together, recording = run(noise)
    for index in range(3):
        alone, single = run(noise[index : index + 1])
        torch.testing.assert_close(together[index : index + 1], alone, atol=1e-4, rtol=1e-4)
        assert relative_error(recording.scores[:, :, index], single.scores[:, :, 0]) < CLOSE


def first_scores(model: Any, positive: Conditioning, noise: Tensor) -> Tensor:
    """Scores of one evaluation on pure noise, (L, B, C, N)."""
    results: list[Any] = []
    guider = comfy.samplers.CFGGuider(recording_model(model, results))
    guider.inner_set_conds({"positive": positive})
    sampler = comfy.samplers.sampler_object("euler")
    guider.sample(noise, torch.zeros_like(noise), sampler, torch.tensor([1.0, 0.5]), disable_pbar=True)
    assert results[0].recording is not None, results[0].reason
    return results[0].recording.scores[0]


def halves(percent: bool) -> Conditioning:
    left = ("percentage", 1.0, 0.5, 0.0, 0.0) if percent else (12, 8, 0, 0)
    right = ("percentage", 1.0, 0.5, 0.0, 0.5) if percent else (12, 8, 0, 8)
    return [*make_cond(seed=1, area=left), *make_cond(tokens=5, seed=2, area=right)]


@pytest.mark.parametrize("percent", [False, True])
def test_areas_equal_crops_computed_on_their_own(small: Any, percent: bool) -> None:
    """Two prompts, one for each half: every latent pixel has one of them, and the weights at their border cancel."""
    noise = make_latent(batch=2, height=12, width=16, seed=4)
    whole = first_scores(small, halves(percent), noise).unflatten(-1, (6, 8))
    left = first_scores(small, make_cond(seed=1), noise[..., :8]).unflatten(-1, (6, 4))
    right = first_scores(small, make_cond(tokens=5, seed=2), noise[..., 8:]).unflatten(-1, (6, 4))
    assert relative_error(whole, torch.cat([left, right], dim=-1)) < CLOSE


def test_areas_that_comfyui_copies_into_the_negative_prompt_are_not_recorded(small: Any) -> None:
    """The copies have the ids of the positive prompts, and are evaluated in the same batch."""
    positive = [*make_cond(seed=1, area=(12, 8, 0, 0)), *make_cond(seed=2, area=(12, 8, 0, 8))]
    options: dict[str, Any] = {"latent": torch.zeros(1, 16, 12, 16), "steps": 1, "positive": positive}
    guided = recording_of(small, cfg=4.0, negative=make_cond(seed=3), **options)
    assert relative_error(guided.scores, recording_of(small, **options).scores) < CLOSE


def test_prompts_of_one_length_are_evaluated_together_and_recorded_apart(small: Any) -> None:
    """Two chunks of one batch, which ComfyUI puts in reverse order."""
    noise = make_latent(batch=2, height=12, width=16, seed=4)
    left, right = (12, 8, 0, 0), (12, 8, 0, 8)
    prompts = [*make_cond(seed=1, area=left), *make_cond(seed=2, area=right), *make_cond(seed=3, strength=0.0)]
    whole = first_scores(small, prompts, noise).unflatten(-1, (6, 8))
    expected = [first_scores(small, make_cond(seed=seed), noise[..., 8 * seed - 8 : 8 * seed]) for seed in (1, 2)]
    assert relative_error(whole, torch.cat([part.unflatten(-1, (6, 4)) for part in expected], dim=-1)) < CLOSE


def test_prompts_for_the_whole_are_averaged_with_their_strengths(small: Any) -> None:
    noise = make_latent(seed=4)
    first, second = make_cond(seed=1), make_cond(tokens=5, seed=2)
    both = [*make_cond(seed=1, strength=3.0), *make_cond(tokens=5, seed=2)]
    expected = (3 * first_scores(small, first, noise) + first_scores(small, second, noise)) / 4
    assert relative_error(first_scores(small, both, noise), expected) < CLOSE


def test_outside_of_the_only_prompts_mask_concepts_score_zero(small: Any) -> None:
    noise = make_latent(seed=4)
    masked = first_scores(small, make_cond(mask=MASK[0]), noise).unflatten(-1, (6, 4))
    plain = first_scores(small, make_cond(), noise).unflatten(-1, (6, 4))
    assert bool((masked[..., :2] == 0).all())
    assert relative_error(masked[..., 2:], plain[..., 2:]) < CLOSE


def test_a_prompt_that_begins_later_leaves_its_steps_to_the_others(small: Any) -> None:
    late = [*make_cond(seed=1), *make_cond(tokens=5, seed=2, start_percent=0.9)]
    assert relative_error(recording_of(small, positive=late).scores, recording_of(small).scores) < CLOSE
    never = make_cond(start_percent=0.9, end_percent=0.95)
    latent, result = sample_and_record(small, positive=never)
    assert result.recording is None and "None of 3 steps ran all selected layers" in result.reason


# Guiders, samplers, windows, tiles


def guider_of(model: Any, kind: str) -> Any:
    from comfy_extras import nodes_custom_sampler, nodes_perpneg

    positive, other, negative = make_cond(), make_cond(tokens=7, seed=8), make_cond(tokens=5, seed=3)
    if kind == "basic":
        guider = nodes_custom_sampler.Guider_Basic(model)
        guider.set_conds(positive)
    elif kind.startswith("dual"):
        guider = nodes_custom_sampler.Guider_DualCFG(model)
        guider.set_conds(positive, other, negative)
        guider.set_cfg(3.0, 2.0, nested=kind == "dual nested")
    else:
        guider = nodes_perpneg.Guider_PerpNeg(model)
        guider.set_conds(positive, negative, other)
        guider.set_cfg(3.0, 0.7)
    return guider


def sample_guider(guider: Any, noise: Tensor) -> Tensor:
    sampler = comfy.samplers.sampler_object("euler")
    sigmas = torch.tensor([1.0, 0.6, 0.0])
    return guider.sample(noise, torch.zeros_like(noise), sampler, sigmas, disable_pbar=True, seed=1)


@pytest.mark.parametrize("kind", ["basic", "dual", "dual nested", "perpneg"])
def test_any_guiders_positive_prompt_is_found(small: Any, kind: str) -> None:
    noise, results = make_latent(seed=4), []
    plain = sample_guider(guider_of(small, kind), noise)
    assert torch.equal(sample_guider(guider_of(recording_model(small, results), kind), noise), plain)
    recording = results[0].recording
    assert recording.steps == (0, 1)
    assert relative_error(recording.scores[0], first_scores(small, make_cond(), noise)) < CLOSE


def test_a_second_evaluation_of_the_positive_prompt_does_not_count(small: Any) -> None:
    """Skip-layer guidance evaluates it again, with blocks left out."""
    from comfy_extras.nodes_slg import SkipLayerGuidanceDiT

    (guided,) = SkipLayerGuidanceDiT.execute(small, 3.0, 0.0, 1.0, double_layers="1", single_layers="").result
    plain = sample(guided, cfg=4.0)
    latent, result = sample_and_record(guided, cfg=4.0)
    assert torch.equal(latent, plain) and result.recording is not None
    assert result.recording.metadata["steps"] == "3 of 3 steps recorded"
    assert relative_error(result.recording.scores[0], recording_of(small, cfg=4.0).scores[0]) < CLOSE
    assert not torch.equal(latent, sample(small, cfg=4.0))


def test_a_guider_without_a_positive_prompt_gives_a_reason(small: Any) -> None:
    results: list[Any] = []
    guider = comfy.samplers.CFGGuider(recording_model(small, results))
    guider.inner_set_conds({"prompt": make_cond()})
    guider.predict_noise = lambda x, timestep, model_options, seed: comfy.samplers.calc_cond_batch(
        guider.inner_model, [guider.conds["prompt"]], x, timestep, model_options
    )[0]
    sample_guider(guider, make_latent())
    assert results[0].recording is None and "with the positive prompt" in results[0].reason


class Sampler(comfy.samplers.Sampler):  # type: ignore[misc]
    """Evaluates its script, (callback index or None, sigma), one after the other."""

    def __init__(self, *script: tuple[int | None, float], reports: bool = True) -> None:
        self.script, self.reports = script, reports

    def sample(self, wrap: Any, sigmas: Tensor, extra: Any, callback: Any, noise: Tensor, *_: Any, **__: Any) -> Tensor:
        x = noise
        for step, sigma in self.script:
            denoised = wrap(x, torch.tensor([sigma]), **extra)
            x = x * 0.5 + denoised * 0.5
            if step is not None and self.reports:
                callback(step, denoised, x, len(sigmas) - 1)
        return x


def run_sampler(model: Any, sampler: Any, settings: Any = None, steps: int = 2) -> Any:
    results: list[Any] = []
    guider = comfy.samplers.CFGGuider(recording_model(model, results, settings))
    guider.inner_set_conds({"positive": make_cond()})
    noise = make_latent(seed=4)
    guider.sample(noise, torch.zeros_like(noise), sampler, torch.linspace(1, 0, steps + 1), disable_pbar=True)
    return results[0]


def test_the_latest_evaluation_before_the_callback_is_the_steps(small: Any) -> None:
    found = run_sampler(small, Sampler((None, 1.0), (0, 0.9), (None, 0.6), (None, 0.5), (1, 0.4), (None, 0.1)))
    assert found.recording.steps == (0, 1)
    assert found.recording.sigmas == pytest.approx((0.9, 0.4))


def test_more_steps_than_planned_are_recorded_as_they_come(small: Any) -> None:
    found = run_sampler(small, Sampler((0, 1.0), (1, 0.8), (2, 0.6), (3, 0.4)))
    assert found.recording.steps == (0, 1, 2, 3)
    assert found.recording.metadata["steps"] == "4 of 4 steps recorded"


def test_a_latent_that_changes_its_size_is_recorded_as_far_as_it_was_one_size(small: Any) -> None:
    class Shrinking(Sampler):
        def sample(
            self, wrap: Any, sigmas: Tensor, extra: Any, callback: Any, noise: Tensor, *_: Any, **__: Any
        ) -> Any:
            for step, x in enumerate((noise, noise[..., :4])):
                callback(step, wrap(x, sigmas[:1], **extra), x, 2)
            return noise

    found = run_sampler(small, Shrinking())
    assert found.recording.steps == (0,) and found.recording.image_size == (96, 64)
    assert found.recording.metadata["steps"] == "1 of 2 steps recorded"
    assert found.recording.metadata["troubles"] == (
        "the latent changed its size while it was sampled, from 8 x 12 to 4 x 12 latent pixels, and only the steps of "
        "the first size are recorded"
    )


def test_a_sampler_that_reports_no_step_gives_a_reason(small: Any) -> None:
    found = run_sampler(small, Sampler((0, 1.0), (1, 0.5), reports=False))
    assert found.recording is None and found.denoised is None
    assert "ran none of the selected steps" in found.reason


def windowed(model: Any, anchor: bool = False) -> Any:
    """Windows of two images over the batch, overlapping by one; with an image before each as its anchor, or without."""
    options: dict[str, Any] = {"causal_window_fix": anchor}
    known = inspect.signature(comfy.context_windows.IndexListContextHandler).parameters
    clone = model.clone()
    clone.model_options["context_handler"] = comfy.context_windows.IndexListContextHandler(
        comfy.context_windows.get_matching_context_schedule(comfy.context_windows.ContextSchedules.STATIC_STANDARD),
        comfy.context_windows.get_matching_fuse_method(comfy.context_windows.ContextFuseMethods.PYRAMID),
        context_length=2,
        context_overlap=1,
        dim=0,
        **{name: value for name, value in options.items() if name in known},
    )
    return clone


@pytest.mark.parametrize("anchor", [False, True])
def test_context_windows_are_averaged(small: Any, anchor: bool) -> None:
    """Every image lies in one or two of them, and is the same in each; as an anchor, which has no output, in one more.

    The anchor is the default of ComfyUI's node.
    """
    model, latent = windowed(small, anchor), torch.zeros(3, 16, 8, 8)
    plain = sample(model, latent=latent, cfg=4.0)
    sampled, result = sample_and_record(model, latent=latent, cfg=4.0)
    assert torch.equal(sampled, plain) and result.recording is not None
    expected = recording_of(small, latent=latent, cfg=4.0)
    assert relative_error(result.recording.scores[0], expected.scores[0]) < CLOSE


def test_a_window_of_unknown_region_gives_a_reason_and_no_recording(
    small: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not a recording in which one window's part is missing."""
    covered_indices = session_module.covered_indices

    def lose_the_second(x: Tensor, whole: Any, window: Any) -> Any:
        if window.index_list[0] > 0:
            raise UnknownRegion("a window is lost")
        return covered_indices(x, whole, window)

    monkeypatch.setattr(session_module, "covered_indices", lose_the_second)
    model, latent = windowed(small), torch.zeros(3, 16, 8, 8)
    sampled, result = sample_and_record(model, latent=latent)
    assert torch.equal(sampled, sample(model, latent=latent))
    assert result.recording is None and "a window is lost" in result.reason


def test_work_split_into_tiles_gives_a_reason_and_no_recording(small: Any) -> None:
    def tiled(apply_model: Any, options: dict[str, Any]) -> Tensor:
        x, t, c = options["input"], options["timestep"], options["c"]
        return torch.cat([apply_model(x[..., :4], t, **c), apply_model(x[..., 4:], t, **c)], dim=-1)

    model = small.clone()
    model.set_model_unet_function_wrapper(tiled)
    latent, result = sample_and_record(model)
    assert torch.equal(latent, sample(model))
    assert result.recording is None and "parts of the latent" in result.reason


# Ranges, layers, caches


def concept_work(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Notes every concept stream that is made."""
    made: list[Any] = []

    class Counted(reading_module.ConceptStream):  # type: ignore[misc, name-defined]
        def __init__(self, *args: Any, **kwargs: Any) -> None:
            made.append(self)
            super().__init__(*args, **kwargs)

    monkeypatch.setattr(reading_module, "ConceptStream", Counted)
    return made


def test_steps_outside_of_the_range_are_as_without_concepts(small: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    model, wrapped = small.clone(), []

    def spy(executor: Any, *args: Any, **kwargs: Any) -> Any:
        options = args[5] if len(args) > 5 else kwargs["transformer_options"]
        wrapped.append(KEY in options.get("wrappers", {}).get(WrappersMP.APPLY_MODEL, {}))
        return executor(*args, **kwargs)

    model.add_wrapper_with_key(WrappersMP.APPLY_MODEL, "spy", spy)
    made, full = concept_work(monkeypatch), recording_of(small, steps=4)
    made.clear()
    settings = Settings(make_encoded(), start_percent=0.25, end_percent=0.75)
    found = recording_of(model, settings, steps=4)
    assert wrapped == [False, True, True, False] and len(made) == 2
    assert found.steps == (1, 2) and found.metadata["steps"] == "2 of 2 steps recorded"
    assert torch.equal(found.scores, full.scores[1:3])


def test_a_choice_of_layers_equals_those_of_the_full_recording() -> None:
    model = make_flux(joint_blocks=4)
    full = recording_of(model)
    for layers, kept in (("0", (0,)), ("2,0", (0, 2)), ("auto", (2, 3))):
        some = recording_of(model, Settings(make_encoded(), layers=layers))
        assert (some.layers, some.layer_count, some.default_layers) == (kept, 4, (2, 3))
        assert torch.equal(some.scores, full.scores[:, list(kept)])


def skipping(model: Any, skipped: set[int]) -> Any:
    """A cache that leaves out some evaluations of the network."""
    count = iter(range(1000))

    def skip(executor: Any, x: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        return x if next(count) in skipped else executor(x, *args, **kwargs)

    clone = model.clone()
    clone.add_wrapper_with_key(WrappersMP.DIFFUSION_MODEL, "cache", skip)
    return clone


def test_steps_that_a_cache_skips_are_left_out_and_counted(small: Any) -> None:
    found = recording_of(skipping(small, {1, 2}), steps=4)
    assert found.steps == (0, 3)
    assert found.metadata["steps"] == "2 of 4 steps recorded"
    latent, result = sample_and_record(skipping(small, {0, 1, 2, 3}), steps=4)
    assert result.recording is None
    assert result.reason.startswith("None of 4 steps ran all selected layers") and "cache" in result.reason


def test_steps_that_a_cache_leaves_out_as_a_whole_do_not_repeat_the_last_scores(small: Any) -> None:
    """As LazyCache does, which stands before the evaluation."""
    model, outputs = small.clone(), []

    def every_other(executor: Any, *args: Any, **kwargs: Any) -> Tensor:
        outputs.append(outputs[-1] if len(outputs) % 2 else executor(*args, **kwargs))
        return outputs[-1]

    model.add_wrapper_with_key(WrappersMP.PREDICT_NOISE, "lazy", every_other)
    found = recording_of(model, steps=4)
    assert found.steps == (0, 2) and found.metadata["steps"] == "2 of 4 steps recorded"


def test_comfyuis_own_cache_works_beside(small: Any) -> None:
    from comfy_extras.nodes_easycache import EasyCacheNode

    (cached,) = EasyCacheNode.execute(small, 3.0, 0.0, 1.0, False).result
    with torch.inference_mode():
        plain = sample(cached, steps=6)
    before = footprint(cached)
    latent, result = sample_and_record(cached, steps=6)
    assert torch.equal(latent, plain) and footprint(cached) == before
    assert result.recording is not None and 0 < len(result.recording.steps) < 6


def test_a_block_that_is_skipped_gives_a_reason(small: Any) -> None:
    model = small.clone()
    model.set_model_patch_replace(lambda args, _: {"img": args["img"], "txt": args["txt"]}, "dit", "double_block", 1)
    latent, result = sample_and_record(model)
    assert torch.equal(latent, sample(model))
    assert result.recording is None and "another pack skipped them" in result.reason
    assert recording_of(model, Settings(make_encoded(), layers="0")).layers == (0,)


def test_forward_passes_can_end_after_the_last_layer_and_record_the_same(small: Any) -> None:
    model, ran = make_flux(joint_blocks=3), []
    settings = Settings(make_encoded(), layers="1")
    expected = recording_of(model, settings, steps=1)
    network = model.model.diffusion_model
    handles = [module.register_forward_hook(lambda module, *_: ran.append(module)) for module in network.modules()]
    latent, result = sample_and_record(model, settings, stop_after_last_layer=True, steps=1)
    for handle in handles:
        handle.remove()
    assert result.recording is not None and torch.equal(result.recording.scores, expected.scores)
    assert network.double_blocks[0] in ran and network.double_blocks[2] not in ran
    assert network.final_layer not in ran and latent.shape == (1, 16, 12, 8)


# Interrupts and errors


class Stopped(BaseException):
    pass


@pytest.mark.parametrize("error", [Stopped, comfy.model_management.InterruptProcessingException, ValueError])
@pytest.mark.parametrize("step", [0, 1, 2])
@pytest.mark.parametrize("where", ["callback", "block", "attention"])
def test_an_interrupt_at_any_step_leaves_nothing(
    error: type[BaseException], step: int, where: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In the sampler, in the model, and in recording, whose own errors are reasons: see test_failures.py."""
    model = make_flux(joint_blocks=2, single_blocks=1)
    results: list[Any] = []
    patched = recording_model(model, results)
    before, carried = footprint(model), footprint(patched)
    count, no_scores = iter(range(1000)), types.SimpleNamespace(select=lambda _: None)

    def fail(*_: Any, **__: Any) -> None:
        if next(count) == step:
            raise error()

    options: dict[str, Any] = {"callback": fail} if where == "callback" else {}
    handle: Any = None
    if where == "block":
        handle = model.model.diffusion_model.double_blocks[1].img_mlp.register_forward_hook(fail)
    elif where == "attention":
        monkeypatch.setattr(session_module.Collector, "score", lambda *_: fail() or no_scores)
        monkeypatch.setattr(session_module.ScoreAccumulator, "finish", lambda *_: {})
    goes_on = where == "attention" and error is ValueError
    with contextlib.nullcontext() if goes_on else pytest.raises(error):
        sample(patched, **options)
    if handle is not None:
        handle.remove()
    assert footprint(model) == before and footprint(patched) == carried
    assert [result.recording for result in results] == [None] * goes_on


class Executor:
    """ComfyUI's executor of an OUTER_SAMPLE wrapper; notes whether it is called."""

    def __init__(self, guider: Any) -> None:
        self.class_obj = guider
        self.called = False

    def __call__(self, *args: Any, **kwargs: Any) -> Tensor:
        self.called = True
        return torch.zeros(1)


@pytest.mark.parametrize("error", [None, KeyError, KeyboardInterrupt])
def test_a_guider_gets_its_options_back(small: Any, error: Any) -> None:
    class Checking(Executor):
        def __call__(self, *args: Any, **kwargs: Any) -> Tensor:
            assert KEY in self.class_obj.model_options["transformer_options"]["wrappers"][WrappersMP.PREDICT_NOISE]
            if error:
                raise error
            return super().__call__(*args, **kwargs)

    executor = Checking(comfy.samplers.CFGGuider(small))
    options = executor.class_obj.model_options
    with pytest.raises(error) if error else contextlib.nullcontext():
        record(executor, arguments(), {}, Settings(make_encoded()))
    assert executor.class_obj.model_options is options is small.model_options
    assert executor.called == (error is None)


def arguments() -> list[Any]:
    return [None, None, None, torch.tensor([1.0, 0.0]), None, None, False, 3]


@pytest.mark.parametrize(
    "settings, message",
    [
        (Settings(make_encoded(), layers="7"), "Layer 7 does not exist"),
        (Settings(make_encoded(width=32)), "have width 32, but this model expects 48"),
    ],
)
def test_a_model_that_does_not_fit_the_settings_is_sampled_and_the_result_says_why(
    small: Any, settings: Settings, message: str
) -> None:
    """The patch node has refused them, so the model has changed since."""
    executor = Executor(comfy.samplers.CFGGuider(small))
    output, result = record(executor, arguments(), {}, settings)
    assert executor.called and torch.equal(output, torch.zeros(1))
    assert result.recording is None and message in result.reason


def test_an_unsupported_model_is_sampled_and_the_result_says_why() -> None:
    model = make_flux()
    model.model.diffusion_model = torch.nn.Identity()
    executor = Executor(comfy.samplers.CFGGuider(model))
    _, result = record(executor, arguments(), {}, Settings(make_encoded()))
    assert executor.called and result.recording is None
    assert "Supported are: " in result.reason and "Flux 1" in result.reason


def test_a_run_is_recorded_once_and_the_other_recording_says_so(small: Any) -> None:
    inner: list[Any] = []
    outer: list[Any] = []
    doubled = recording_model(small, inner)
    (wrapper,) = recording_model(small, outer).wrappers[WrappersMP.OUTER_SAMPLE][KEY]
    doubled.add_wrapper_with_key(WrappersMP.OUTER_SAMPLE, "other", wrapper)
    before = footprint(small)
    assert torch.equal(sample(doubled), sample(small))
    assert footprint(small) == before
    found = {result.reason for result in (*inner, *outer)}
    assert found == {"", "This run is being recorded already: give one node all the concepts."}


def test_a_run_without_steps_gives_a_reason(small: Any) -> None:
    output, result = record(Executor(comfy.samplers.CFGGuider(small)), arguments(), {}, Settings(make_encoded()))
    assert torch.equal(output, torch.zeros(1))
    assert result.recording is None and "Give it steps, and denoise above 0" in result.reason


def test_scores_that_are_not_finite_give_a_reason_and_the_latent(small: Any) -> None:
    positive = make_cond()
    positive[0][0] = positive[0][0] * math.nan
    latent, result = sample_and_record(small, positive=positive)
    assert bool(latent.isnan().all())
    assert result.recording is None and "must be finite" in result.reason


# Runs are independent


def test_two_runs_of_one_patched_model_are_independent(small: Any) -> None:
    results: list[Any] = []
    patched = recording_model(small, results)
    for seed in (1, 2, 1):
        sample(patched, seed=seed)
    first, second, again = (result.recording for result in results)
    assert torch.equal(first.scores, again.scores) and not torch.equal(first.scores, second.scores)
    assert first.scores.data_ptr() != again.scores.data_ptr()
    assert [recording.metadata["seed"] for recording in (first, second, again)] == ["1", "2", "1"]


def test_nothing_of_a_run_outlives_it(small: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Not even until the next garbage collection: a run's state refers to the model."""
    alive: list[Any] = []

    class Known(session_module.RecordingSession):  # type: ignore[misc, name-defined]
        def __init__(self, *args: Any) -> None:
            super().__init__(*args)
            alive.append(weakref.ref(self))

    monkeypatch.setattr(run_module, "RecordingSession", Known)
    gc.disable()
    try:
        recording_of(small, cfg=4.0, positive=halves(percent=False), latent=torch.zeros(1, 16, 12, 16))
        assert [reference() for reference in alive] == [None]
    finally:
        gc.enable()


def test_plain_and_recorded_runs_in_another_thread_meanwhile_change_nothing(small: Any) -> None:
    """They run inside of the last forward pass of a recorded run: ComfyUI lets none go on when another has ended."""
    latents, seen, passes = [make_latent(seed=seed) for seed in (4, 5)], [], []
    plain = [sample(small, latent=latent) for latent in latents]
    expected = [recording_of(small, latent=latent) for latent in latents]

    def meanwhile(*_: Any) -> None:
        passes.append(threading.current_thread() is threading.main_thread())
        if passes == [True] * 3:
            seen.append(in_a_thread(lambda: sample(small, latent=latents[1])))
            latent, result = in_a_thread(lambda: sample_and_record(small, latent=latents[1]))
            assert torch.equal(latent, plain[1])
            assert result.recording is not None and torch.equal(result.recording.scores, expected[1].scores)

    handle = small.model.diffusion_model.double_blocks[0].img_mlp.register_forward_hook(meanwhile)
    try:
        latent, result = sample_and_record(small, latent=latents[0])
    finally:
        handle.remove()
    assert torch.equal(seen[0], plain[1])
    assert torch.equal(latent, plain[0])
    assert result.recording is not None and torch.equal(result.recording.scores, expected[0].scores)


def test_a_run_inside_a_run_of_another_model_keeps_to_itself(small: Any) -> None:
    """A node's callback may sample on its own."""
    other = make_flux(joint_blocks=2, single_blocks=1, seed=1)
    expected, expected_inner = recording_of(small), recording_of(other)
    inner: list[Any] = []

    def callback(step: int, *_: Any) -> None:
        inner.append(recording_of(other))

    assert torch.equal(recording_of(small, callback=callback).scores, expected.scores)
    assert len(inner) == 3 and all(torch.equal(found.scores, expected_inner.scores) for found in inner)


def test_the_callback_that_was_given_is_called_as_before(small: Any) -> None:
    calls: list[tuple[int, Tensor, Tensor, int]] = []
    sample(small, callback=lambda *call: calls.append(call))
    plain = list(calls)
    calls.clear()
    latent, result = sample_and_record(small, callback=lambda *call: calls.append(call))
    assert [(step, steps) for step, _, _, steps in calls] == [(step, steps) for step, _, _, steps in plain]
    assert all(torch.equal(a[1], b[1]) and torch.equal(a[2], b[2]) for a, b in zip(calls, plain, strict=True))
    assert result.denoised is calls[-1][1]


def test_a_callback_given_by_name_is_found(small: Any) -> None:
    seen, calls = [], []

    class Named(Executor):
        def __call__(self, *args: Any, **kwargs: Any) -> Tensor:
            kwargs["callback"](0, torch.ones(1), torch.zeros(1), 1)
            seen.append(sorted(kwargs))
            return torch.zeros(1)

    executor = Named(comfy.samplers.CFGGuider(small))
    kwargs = {"callback": lambda *call: calls.append(call), "seed": 5, "latent_shapes": []}
    _, result = record(executor, arguments()[:5], kwargs, Settings(make_encoded()))
    assert seen == [["callback", "latent_shapes", "seed"]] and len(calls) == 1
    assert torch.equal(result.denoised, torch.ones(1))


# Metadata of a recording


def test_a_recording_holds_what_it_was_made_from(small: Any, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO", logger="concept_attention")
    found = recording_of(
        small, Settings(make_encoded(), dtype=torch.float16), seed=42, latent=torch.zeros(1, 16, 9, 12)
    )
    assert (found.architecture, found.mode, found.layers, found.layer_count) == ("flux", "flux", (0, 1), 2)
    assert (found.grid, found.image_size, found.covered_size) == ((1, 5, 6), (72, 96), (80, 96))
    assert found.scores.dtype == torch.float16 and found.scores.device.type == "cpu"
    notes = found.metadata
    assert (notes["seed"], notes["model"], notes["pooling"]) == ("42", "Flux", "first")
    assert notes["concept_tokens"] == "thing 0: 1, thing 1: 1, thing 2: 1"
    assert "ComfyUI 0." in notes["versions"] and f"torch {torch.__version__}" in notes["versions"]
    messages = [record.message for record in caplog.records if record.name == "concept_attention"]
    assert messages == ["3 of 3 steps recorded, 2 layers, 3 concepts"]


def test_even_sizes_are_covered_exactly(small: Any) -> None:
    assert recording_of(small).covered_size is None


def test_rows_of_neighbouring_chunks_are_a_slice_and_of_others_their_numbers() -> None:
    assert chunk_rows([1, 2], 3) == slice(3, 9)
    assert chunk_rows([2, 0], 3).tolist() == [6, 7, 8, 0, 1, 2]


# Several devices


@pytest.fixture
def two_devices(comfy_host: Any) -> Iterator[Any]:
    """A model and its copy, each with a device and a thread of its own, as ComfyUI's multi-GPU sampling has them."""
    if comfy_host.release < (0, 30):
        pytest.skip("this ComfyUI samples on one device")
    import comfy.multigpu

    model, twin = (make_flux(joint_blocks=2, single_blocks=1) for _ in range(2))
    twin.model.current_patcher = twin
    devices = [torch.device("cpu"), torch.device("cpu", 0)]
    model.model_options["multigpu_clones"] = dict(zip(devices, (model, twin), strict=True))
    pool = comfy.multigpu.MultiGPUThreadPool(devices)
    model.model_options["multigpu_thread_pool"] = pool
    yield model
    pool.shutdown()


def test_prompts_evaluated_in_threads_on_several_devices_are_averaged(small: Any, two_devices: Any) -> None:
    positive = halves(percent=False)
    noise = make_latent(height=12, width=16, seed=4)
    before = [footprint(patcher) for patcher in two_devices.model_options["multigpu_clones"].values()]
    found = first_scores(two_devices, positive, noise)
    assert relative_error(found, first_scores(small, positive, noise)) < CLOSE
    assert [footprint(patcher) for patcher in two_devices.model_options["multigpu_clones"].values()] == before


# Running mean and memory


@pytest.mark.parametrize("mode", ["flux", "flux2", "sd3", "paper", "cogvideox"])
def test_the_running_mean_makes_the_heatmaps_of_every_step(small: Any, mode: str) -> None:
    options = {"cfg": 4.0, "steps": 4, "latent": torch.zeros(2, 16, 8, 12)}
    settings = Settings(make_encoded(), mode=mode, start_percent=0.25)
    latent, full = sample_and_record(small, settings, **options)
    same, mean = sample_and_record(small, dataclasses.replace(settings, keep="running mean"), **options)
    assert torch.equal(same, latent)
    assert full.recording is not None and mean.recording is not None
    assert mean.recording.scores.shape == (1, *full.recording.scores.shape[1:])
    assert mean.recording.metadata["steps"] == full.recording.metadata["steps"] == "3 of 3 steps recorded"
    found, expected = make_heatmaps(mean.recording, "all").values, make_heatmaps(full.recording, "all").values
    assert float((found - expected).abs().max()) < 1e-6


def test_a_large_recording_is_announced_before_the_run(
    small: Any, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    class Interrupt(Exception):
        pass

    def interrupt(*_: Any) -> None:
        raise Interrupt

    options = {"latent": torch.zeros(2, 16, 8, 12), "steps": 5}
    size = 3 * 2 * 2 * 3 * (4 * 6 * 4 + 4) / 2048  # steps, layers, batch, concepts, tokens and norms
    monkeypatch.setattr(collector_module, "GIBIBYTE", 2048)
    settings = Settings(make_encoded(), end_percent=0.6)
    recording_of(small, dataclasses.replace(settings, keep="running mean"), **options)
    assert "will take" not in caplog.text
    small_model = recording_model(small, [], settings)
    small_model.add_wrapper_with_key(WrappersMP.PREDICT_NOISE, "test", interrupt)
    with pytest.raises(Interrupt):
        sample(small_model, **options)
    assert f"will take {size:.1f} GiB: 3 steps, 2 layers, 3 concepts, 48 tokens" in caplog.text
    assert f"keep=running mean, which takes {size / 3:.2f} GiB" in caplog.text
