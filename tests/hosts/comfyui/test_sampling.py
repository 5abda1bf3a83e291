"""Sampling with concepts gives ComfyUI's own results, bit for bit, and a recording."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import comfy.utils
import latent_preview
import nodes
import pytest
import torch
from comfy.model_management import InterruptProcessingException
from comfy.patcher_extension import WrappersMP
from comfy_extras.nodes_custom_sampler import (
    BasicGuider,
    CFGGuider,
    DisableNoise,
    DualCFGGuider,
    KSamplerSelect,
    Noise_RandomNoise,
    SamplerCustomAdvanced,
)
from comfy_extras.nodes_easycache import EasyCacheNode, LazyCacheNode

from concept_attention.hosts.comfyui.patching import patch_model
from concept_attention.hosts.comfyui.recording_cache import NothingRecorded
from concept_attention.hosts.comfyui.sampling import sample, sample_custom

from ...support.comfyui.settings import make_settings
from ...support.comfyui.tiny import make_cond, make_flux, make_latent

Latent = dict[str, Any]
PROMPTS = {"positive": make_cond(), "negative": make_cond(5, 3)}


@pytest.fixture(scope="module")
def model() -> Any:
    return make_flux()


def masked(batch: int = 1) -> Latent:
    mask = torch.zeros(1, 1, 56, 80)
    mask[..., 30:60] = 1
    return {"samples": make_latent(batch, 7, 10), "noise_mask": mask}


LATENTS: dict[str, Latent] = {
    "empty": {"samples": torch.zeros(1, 16, 6, 8)},
    "a batch": {"samples": torch.zeros(3, 16, 6, 4)},
    "numbered": {"samples": torch.zeros(2, 16, 4, 4), "batch_index": [3, 1]},
    "four channels": {"samples": torch.zeros(1, 4, 6, 8), "downscale_ratio_spacial": 8},
    "odd with a mask": masked(),
    "a batch with a mask": masked(2),
}


def arguments(**options: Any) -> dict[str, Any]:
    return {"seed": 3, "steps": 3, "cfg": 1.0, "sampler_name": "euler", "scheduler": "simple", **PROMPTS, **options}


def same(one: Latent, other: Latent) -> bool:
    """Whether two LATENTs agree in everything."""
    same_tensors = all(
        torch.equal(one[key], other[key]) if isinstance(one[key], torch.Tensor) else one[key] == other[key]
        for key in one
    )
    return one.keys() == other.keys() and same_tensors and one["samples"].dtype == other["samples"].dtype


@pytest.mark.parametrize("kind", LATENTS)
@pytest.mark.parametrize("options", [{}, {"cfg": 3.0, "denoise": 0.5, "sampler_name": "dpmpp_2m"}])
def test_any_latent_comes_out_as_of_ksampler(model: Any, kind: str, options: dict[str, Any]) -> None:
    latent = LATENTS[kind]
    before = {key: value.clone() if isinstance(value, torch.Tensor) else value for key, value in latent.items()}
    output, recording = sample(model, make_settings(), latent=latent, **arguments(**options))
    assert same(output, nodes.common_ksampler(model, latent=latent, **arguments(**options))[0])
    assert same(latent, before)
    height, width = latent["samples"].shape[2:]
    assert recording.grid == (1, (height + 1) // 2, width // 2) and recording.batch == len(latent["samples"])


@pytest.mark.parametrize("sampler", ["heun", "dpmpp_sde", "uni_pc", "lcm", "ddim"])
def test_any_sampler_gives_comfyuis_latent(model: Any, sampler: str) -> None:
    options = arguments(sampler_name=sampler, cfg=2.0, latent=LATENTS["empty"])
    output, recording = sample(model, make_settings(), **options)
    assert same(output, nodes.common_ksampler(model, **options)[0])
    assert recording.steps == (0, 1, 2)


def make_guider(kind: str, model: Any) -> Any:
    if kind == "basic":
        return BasicGuider.execute(model, make_cond()).result[0]
    if kind == "cfg":
        return CFGGuider.execute(model, make_cond(), make_cond(5, 3), 2.0).result[0]
    return DualCFGGuider.execute(model, make_cond(), make_cond(6, 8), make_cond(5, 3), 2.0, 1.5, "regular").result[0]


@pytest.mark.parametrize("guider", ["basic", "cfg", "dual"])
@pytest.mark.parametrize("kind", ["empty", "four channels", "odd with a mask"])
@pytest.mark.parametrize("sigmas", [(1.0, 0.5, 0.2, 0.0), (0.7, 0.3)])
def test_both_latents_come_out_as_of_the_custom_sampler(model: Any, guider: str, kind: str, sigmas: Any) -> None:
    common = KSamplerSelect.execute("euler").result[0], torch.tensor(sigmas), LATENTS[kind]
    noise = Noise_RandomNoise(4) if sigmas[0] == 1 else DisableNoise.execute().result[0]
    own = make_guider(guider, model)
    attributes, options = dict(vars(own)), repr(own.model_options)
    *outputs, recording = sample_custom(noise, own, *common, settings=make_settings())
    expected = SamplerCustomAdvanced.execute(noise, make_guider(guider, model), *common).result
    assert all(same(one, other) for one, other in zip(outputs, expected, strict=True))
    assert recording.sigmas == pytest.approx(sigmas[:-1])
    assert vars(own) == attributes and repr(own.model_options) == options  # the host keeps it for the next prompt


def test_both_ways_of_sampling_record_the_same(model: Any) -> None:
    _, one = sample(model, make_settings(), latent=LATENTS["empty"], **arguments())
    sigmas = torch.tensor([*one.sigmas, 0.0])
    guider, sampler = make_guider("basic", model), KSamplerSelect.execute("euler").result[0]
    *_, other = sample_custom(Noise_RandomNoise(3), guider, sampler, sigmas, LATENTS["empty"], make_settings())
    assert torch.allclose(one.scores, other.scores, atol=1e-4)


@pytest.fixture
def progress() -> Iterator[list[tuple[Any, ...]]]:
    """Calls of the host's progress hook, with previews on: (value, total, image bytes)."""
    calls: list[tuple[Any, ...]] = []

    def hook(value: int, total: int, preview: Any, node_id: Any = None) -> None:
        calls.append((value, total, preview and preview[1].tobytes()))

    previous = comfy.utils.PROGRESS_BAR_HOOK
    comfy.utils.set_progress_bar_global_hook(hook)
    latent_preview.set_preview_method("latent2rgb")
    yield calls
    latent_preview.set_preview_method()
    comfy.utils.set_progress_bar_global_hook(previous)


def test_progress_and_previews_are_comfyuis(model: Any, progress: list[Any]) -> None:
    options = arguments(latent=LATENTS["empty"], steps=4)
    nodes.common_ksampler(model, **options)
    expected = progress[:]
    progress.clear()
    sample(model, make_settings(), **options)
    assert progress == expected and [call[:2] for call in expected] == [(step, 4) for step in (1, 2, 3, 4)]
    assert len({call[2] for call in expected}) == 4


def test_an_interrupt_gets_through_and_leaves_nothing(model: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(*args: Any, **kwargs: Any) -> None:
        raise InterruptProcessingException

    before = repr(model.model_options), repr(model.wrappers)
    monkeypatch.setattr(comfy.utils, "PROGRESS_BAR_HOOK", interrupt)
    with pytest.raises(InterruptProcessingException):
        sample(model, make_settings(), **arguments(latent=LATENTS["empty"]))
    with pytest.raises(InterruptProcessingException):
        guider, sampler = make_guider("cfg", model), KSamplerSelect.execute("euler").result[0]
        sigmas = torch.tensor((1.0, 0.5, 0.0))
        sample_custom(Noise_RandomNoise(3), guider, sampler, sigmas, LATENTS["empty"], make_settings())
    assert (repr(model.model_options), repr(model.wrappers)) == before
    assert not any(module._forward_pre_hooks or module._forward_hooks for module in model.model.modules())


def test_only_the_chosen_steps_are_recorded(model: Any) -> None:
    settings = make_settings(start_percent=0.5, end_percent=0.75)
    _, recording = sample(model, settings, latent=LATENTS["empty"], **arguments(steps=4))
    assert recording.steps == (2,)


@pytest.mark.parametrize("cache", [EasyCacheNode, LazyCacheNode])
def test_steps_that_a_cache_skips_are_missing_and_counted(cache: Any) -> None:
    cached = cache.execute(make_flux(guidance=True), 0.5, 0.0, 1.0, False).result[0]
    options = arguments(steps=12, latent=LATENTS["empty"])
    output, recording = sample(cached, make_settings(), **options)
    assert same(output, nodes.common_ksampler(cached, **options)[0])
    assert 0 < len(recording.steps) < 12 and recording.metadata["steps"].startswith(f"{len(recording.steps)} of 12 ")


def test_no_recording_is_an_error_with_the_reason(model: Any) -> None:
    with pytest.raises(ValueError, match="no step was sampled"):
        sample(model, make_settings(), latent=LATENTS["empty"], **arguments(denoise=0.0))
    skipping = model.clone()
    skipping.add_wrapper_with_key(WrappersMP.PREDICT_NOISE, "cache", lambda executor, x, *rest: torch.zeros_like(x))
    options = arguments(latent=LATENTS["empty"])
    with pytest.raises(NothingRecorded, match=r"Nothing was recorded: \S+") as caught:
        sample(skipping, make_settings(), **options)
    (output,) = caught.value.outputs
    assert same(output, nodes.common_ksampler(skipping, **options)[0])


def test_a_model_that_records_already_is_refused(model: Any) -> None:
    patched = patch_model(model, make_settings())
    with pytest.raises(ValueError, match="records concepts already"):
        sample(patched, make_settings(), latent=LATENTS["empty"], **arguments())
