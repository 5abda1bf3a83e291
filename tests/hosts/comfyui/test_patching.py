"""Patched models with the host's own samplers, and their recordings in the cache."""

from __future__ import annotations

import types
from typing import Any

import comfy.model_base
import comfy.model_management
import comfy.samplers
import nodes
import pytest
import torch
from comfy.patcher_extension import WrappersMP
from comfy_execution.utils import CurrentNodeContext
from comfy_extras.nodes_custom_sampler import (
    BasicGuider,
    CFGGuider,
    DisableNoise,
    KSamplerSelect,
    Noise_RandomNoise,
    SamplerCustom,
    SamplerCustomAdvanced,
)

from concept_attention.hosts.comfyui import patching
from concept_attention.hosts.comfyui.engine.run import RunResult
from concept_attention.hosts.comfyui.engine.session import KEY
from concept_attention.hosts.comfyui.patching import collect, patch_guider, patch_model, settings_of
from concept_attention.hosts.comfyui.recording_cache import RecordingCache
from concept_attention.recording.recording import Recording

from ...support.comfyui.settings import make_settings
from ...support.comfyui.tiny import make_cond, make_flux, make_latent

STEPS = 3
Latent = dict[str, Any]


@pytest.fixture(autouse=True)
def cache(monkeypatch: pytest.MonkeyPatch) -> RecordingCache:
    """An empty cache for every test, in place of the shared one."""
    empty = RecordingCache()
    monkeypatch.setattr(patching, "RECORDING_CACHE", empty)
    return empty


@pytest.fixture(scope="module")
def model() -> Any:
    return make_flux()


def empty_latent(batch: int = 1, height: int = 6, width: int = 8, channels: int = 16) -> Latent:
    return {"samples": torch.zeros(batch, channels, height, width)}


def ksampler(model: Any, latent: Latent | None = None, seed: int = 1, **options: Any) -> Latent:
    """The stock node's output."""
    arguments = {"steps": STEPS, "cfg": 1.0, "sampler_name": "euler", "scheduler": "simple", **options}
    (output,) = nodes.KSampler().sample(
        model, seed, **arguments, positive=make_cond(), negative=make_cond(5, 3), latent_image=latent or empty_latent()
    )
    return output


def custom_sampler(
    model: Any, latent: Latent | None = None, seed: int = 1, sampler: str = "euler", sigmas: Any = (1.0, 0.6, 0.3, 0.0)
) -> tuple[Latent, Latent]:
    """Both outputs of the stock node."""
    noise = DisableNoise.execute().result[0] if seed < 0 else Noise_RandomNoise(seed)
    guider = BasicGuider.execute(model, make_cond()).result[0]
    selected = KSamplerSelect.execute(sampler).result[0]
    return SamplerCustomAdvanced.execute(noise, guider, selected, torch.tensor(sigmas), latent or empty_latent()).result


def equal(one: Recording, other: Recording) -> bool:
    return torch.equal(one.scores, other.scores) and one.concepts == other.concepts and one.sigmas == other.sigmas


def test_a_stock_sampler_with_a_patched_model_returns_the_same_and_its_recording_is_found(model: Any) -> None:
    output = ksampler(patch_model(model, make_settings()))
    assert torch.equal(output["samples"], ksampler(model)["samples"])
    found = collect(output)
    assert [concept.name for concept in found.concepts] == ["house", "tree", "sky"]
    assert (found.steps, found.grid, found.batch) == ((0, 1, 2), (1, 3, 4), 1)


def test_the_patched_model_carries_configuration_and_the_original_nothing(model: Any) -> None:
    settings = make_settings()
    patched = patch_model(model, settings)
    before = repr(patched.wrappers), repr(patched.model_options)
    assert KEY not in model.wrappers.get(WrappersMP.OUTER_SAMPLE, {}) and patched.model is model.model
    (wrapper,) = patched.wrappers[WrappersMP.OUTER_SAMPLE][KEY]
    assert isinstance(wrapper, types.FunctionType) and not hasattr(wrapper, "to")
    assert settings_of(patched) is settings and settings_of(patched.clone()) is settings
    ksampler(patched)
    assert (repr(patched.wrappers), repr(patched.model_options)) == before


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16])
def test_the_hosts_intermediate_dtype_does_not_hide_a_recording(
    model: Any, monkeypatch: pytest.MonkeyPatch, dtype: torch.dtype
) -> None:
    monkeypatch.setattr(comfy.model_management, "intermediate_dtype", lambda: dtype)
    patched = patch_model(model, make_settings())
    output = ksampler(patched)
    assert output["samples"].dtype == dtype and collect(output).batch == 1
    output, denoised = custom_sampler(patched, seed=2)
    assert collect(denoised) is collect(output)


@pytest.mark.parametrize("sigmas", [(1.0, 0.6, 0.3, 0.0), (1.0, 0.6, 0.3), (0.5, 0.2)])
@pytest.mark.parametrize("sampler", ["euler", "dpmpp_2m", "heun", "uni_pc"])
def test_both_outputs_of_the_custom_sampler_are_found(model: Any, sampler: str, sigmas: Any) -> None:
    output, denoised = custom_sampler(patch_model(model, make_settings()), sampler=sampler, sigmas=sigmas)
    found = collect(output)
    assert collect(denoised) is found and found.sigmas[0] == pytest.approx(sigmas[0])
    if sigmas[-1]:
        assert not torch.equal(output["samples"], denoised["samples"])


def test_masks_and_latents_that_the_host_adapts_are_found(model: Any) -> None:
    patched = patch_model(model, make_settings())
    mask = torch.zeros(1, 1, 48, 64)
    mask[..., 30:] = 1
    masked = {"samples": make_latent(1, 6, 8), "noise_mask": mask, "batch_index": [3]}
    fewer_channels = {**empty_latent(1, 6, 8, channels=4), "downscale_ratio_spacial": 8}
    for latent in (masked, fewer_channels):
        output, denoised = custom_sampler(patched, latent, sigmas=(0.8, 0.4))
        assert collect(output) is collect(denoised)
        assert collect(ksampler(patched, latent, denoise=0.6)).grid == (1, 3, 4)


def test_other_nodes_and_plain_calls_of_the_host_are_found_too(model: Any) -> None:
    patched = patch_model(model, make_settings())
    select, sigmas = KSamplerSelect.execute("euler").result[0], torch.tensor((1.0, 0.5, 0.0))
    both = SamplerCustom.execute(
        patched, True, 5, 1.0, make_cond(), make_cond(5, 3), select, sigmas, empty_latent()
    ).result
    assert collect(both[0]) is collect(both[1])
    (leftover,) = nodes.KSamplerAdvanced().sample(
        patched, "enable", 1, 4, 1.0, "euler", "simple", make_cond(), make_cond(5, 3), empty_latent(), 0, 2, "enable"
    )
    assert collect(leftover).steps == (0, 1)


def test_two_samplers_share_a_patched_model_and_keep_their_own_recordings(model: Any) -> None:
    patched, settings = patch_model(model, make_settings()), make_settings()
    outputs = [ksampler(patched, seed=seed) for seed in (1, 2)]
    for seed, output in zip((1, 2), outputs, strict=True):
        alone = ksampler(patch_model(model, settings), seed=seed)
        assert equal(collect(output), collect(alone))
    assert not torch.equal(collect(outputs[0]).scores, collect(outputs[1]).scores)


def test_a_cached_sampler_is_found_after_later_runs(model: Any) -> None:
    patched = patch_model(model, make_settings())
    cached = ksampler(patched)
    first = collect(cached)
    for seed in range(2, 12):
        ksampler(patched, seed=seed)
        assert collect(cached) is first


def test_an_evicted_recording_is_an_error_that_says_so(
    model: Any, cache: RecordingCache, monkeypatch: pytest.MonkeyPatch
) -> None:
    patched = patch_model(model, make_settings())
    output = ksampler(patched)
    monkeypatch.setattr(cache, "_max_bytes", 2 * collect(output).nbytes)
    for seed in range(2, 10):
        ksampler(patched, seed=seed)
    with pytest.raises(ValueError, match="is gone: 8 newer runs"):
        collect(output)


def test_a_prompt_queued_again_replaces_its_recording(model: Any, cache: RecordingCache) -> None:
    patched = patch_model(model, make_settings())
    first, second = ksampler(patched), ksampler(patched)
    assert len(cache._runs) == 1 and collect(first) is collect(second)


def test_other_concepts_in_the_same_node_replace_its_recording(model: Any, cache: RecordingCache) -> None:
    for names in (("house",), ("tree",)):
        with CurrentNodeContext("prompt", "7", None):
            output = ksampler(patch_model(model, make_settings(names)))
    assert len(cache._runs) == 1 and collect(output).concepts[0].name == "tree"


def test_two_patched_models_and_one_latent_need_the_model_to_choose(model: Any) -> None:
    patched = [patch_model(model, make_settings((name,))) for name in ("house", "tree")]
    outputs = []
    for number, one in enumerate(patched):
        with CurrentNodeContext("prompt", str(number), None):
            outputs.append(ksampler(one))
    assert torch.equal(outputs[0]["samples"], outputs[1]["samples"])
    with pytest.raises(ValueError, match="Connect the patched MODEL"):
        collect(outputs[0])
    assert [collect(outputs[0], one).concepts[0].name for one in patched] == ["house", "tree"]
    with pytest.raises(ValueError, match="other concepts or settings"):
        collect(outputs[0], patch_model(model, make_settings(("sky",))))
    with pytest.raises(ValueError, match="has no concept attention"):
        collect(outputs[0], model)


def test_a_batch_is_found_whole_and_an_image_of_it_is_an_error(model: Any) -> None:
    patched = patch_model(model, make_settings())
    output = ksampler(patched, empty_latent(3))
    assert collect(output).batch == 3
    (second,) = nodes.LatentFromBatch().frombatch(output, 1, 1)
    with pytest.raises(ValueError, match="scaled, cropped or split"):
        collect(second)
    apart = [ksampler(patched, {**empty_latent(), "batch_index": [index]}) for index in range(3)]
    for index, one in enumerate(apart):
        assert torch.allclose(collect(one).scores[:, :, 0], collect(output).scores[:, :, index], atol=1e-4)


def test_a_latent_that_was_changed_is_told_from_one_that_never_was_sampled(model: Any) -> None:
    with pytest.raises(ValueError, match="none has sampled anything yet"):
        collect(ksampler(model))
    output = ksampler(patch_model(model, make_settings()))
    (larger,) = nodes.LatentUpscale().upscale(output, "nearest-exact", 128, 96, "disabled")
    with pytest.raises(ValueError, match="scaled, cropped or split"):
        collect(larger)
    (flipped,) = nodes.LatentFlip().flip(output, "x-axis: vertically")
    for other in (flipped, ksampler(model, seed=9)):
        with pytest.raises(ValueError, match="content differs"):
            collect(other)


def test_nothing_is_cached_when_no_step_was_sampled(model: Any) -> None:
    patched = patch_model(model, make_settings())
    for output in (*custom_sampler(patched, sigmas=()), ksampler(patched, denoise=0.0)):
        with pytest.raises(ValueError, match="none has sampled anything yet"):
            collect(output)


def test_a_run_in_which_nothing_was_recorded_says_why(model: Any) -> None:
    skipping = model.clone()
    skipping.add_wrapper_with_key(WrappersMP.PREDICT_NOISE, "cache", lambda executor, x, *rest: torch.zeros_like(x))
    output = ksampler(patch_model(skipping, make_settings()))
    with pytest.raises(ValueError, match=r"nothing was recorded: \S+"):
        collect(output)


@pytest.mark.parametrize("error", [comfy.model_management.InterruptProcessingException, RuntimeError])
def test_a_run_that_stops_leaves_nothing(model: Any, cache: RecordingCache, error: type[BaseException]) -> None:
    patched = patch_model(model, make_settings())
    before = repr(patched.wrappers), repr(patched.model_options)

    def stop(step: int, *rest: Any) -> None:
        if step == 1:
            raise error

    guider = comfy.samplers.CFGGuider(patched)
    guider.set_conds(make_cond(), make_cond(5, 3))
    latent = empty_latent()["samples"]
    with pytest.raises(error):
        guider.sample(
            make_latent(1, 6, 8), latent, comfy.samplers.sampler_object("euler"), torch.tensor((1.0, 0.5, 0.0)),
            callback=stop,
        )  # fmt: skip
    assert not cache._runs
    assert (repr(patched.wrappers), repr(patched.model_options)) == before
    assert not any(module._forward_pre_hooks or module._forward_hooks for module in model.model.modules())
    assert collect(ksampler(patched)).steps == (0, 1, 2)


def test_what_cannot_be_recorded_is_refused_before_anything_is_sampled(model: Any) -> None:
    patched = patch_model(model, make_settings())
    with pytest.raises(ValueError, match="records concepts already"):
        patch_model(patched, make_settings())
    with pytest.raises(ValueError, match="records concepts already"):
        patch_guider(BasicGuider.execute(patched, make_cond()).result[0], make_settings(), lambda *_: None)
    with pytest.raises(ValueError, match="have width 64, but this model expects 48"):
        patch_model(model, make_settings(width=64))
    with pytest.raises(ValueError, match="Layer 3 does not exist"):
        patch_model(model, make_settings(layers="1-3"))


def test_a_patched_guider_is_a_copy_and_the_original_stays_as_it_was(model: Any) -> None:
    guider = CFGGuider.execute(model, make_cond(), make_cond(5, 3), 2.0).result[0]
    attributes, options = dict(vars(guider)), repr(guider.model_options)
    results: list[RunResult] = []
    patched = patch_guider(guider, make_settings(), lambda output, result: results.append(result))
    arguments = make_latent(1, 6, 8), torch.zeros(1, 16, 6, 8)
    sampler, sigmas = comfy.samplers.sampler_object("euler"), torch.tensor((1.0, 0.5, 0.0))
    sampled = patched.sample(*arguments, sampler, sigmas)
    assert vars(guider) == attributes and repr(guider.model_options) == options
    assert torch.equal(sampled, guider.sample(*arguments, sampler, sigmas)) and len(results) == 1
    assert results[0].recording is not None and results[0].recording.steps == (0, 1)
