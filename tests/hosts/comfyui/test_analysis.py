"""Analysis of existing images: what the model gets, what is recorded, and how little of the model runs."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import comfy.model_management
import comfy.model_sampling
import comfy.nested_tensor
import comfy.utils
import pytest
import torch
from comfy.patcher_extension import WrappersMP
from comfy_extras.nodes_custom_sampler import BasicGuider, KSamplerSelect
from torch import Tensor

from concept_attention.heatmaps.heatmaps import make_heatmaps
from concept_attention.hosts.comfyui.analysis import (
    OneShotSampler,
    analyze,
    check_latent,
    make_schedule,
    seeded_noise,
    sigma_at,
)
from concept_attention.hosts.comfyui.engine.geometry import noise_level
from concept_attention.hosts.comfyui.engine.settings import Settings
from concept_attention.hosts.comfyui.patching import patch_model
from concept_attention.hosts.comfyui.sampling import sample_custom

from ...support.comfyui.architectures import mochi, qwen_image
from ...support.comfyui.recording_spy import make_encoded
from ...support.comfyui.settings import make_settings
from ...support.comfyui.tiny import POOLED_WIDTH, make_cond, make_flux, make_latent

CLOSE = 1e-5
SETTINGS = make_settings()
IMAGES = {"samples": make_latent(2, 6, 8)}
ONE = {"samples": make_latent(1, 6, 8)}
SHIFT, SCALE = 0.1159, 0.3611  # of Flux's latents


@pytest.fixture
def model() -> Any:
    return make_flux(guidance=True)


@pytest.fixture
def calls(model: Any) -> list[dict[str, Any]]:
    """Arguments of the model, call by call."""
    made: list[dict[str, Any]] = []

    def note(executor: Any, x: Tensor, t: Tensor, *rest: Any, **options: Any) -> Tensor:
        names = ("c_concat", "c_crossattn", "control", "transformer_options")
        made.append({"x": x.clone(), "t": t.clone(), **dict(zip(names, rest, strict=False)), **options})
        return executor(x, t, *rest, **options)

    model.add_wrapper_with_key(WrappersMP.APPLY_MODEL, "test", note)
    return made


def noise_of(seed: int) -> Tensor:
    return torch.randn(16, 6, 8, generator=torch.Generator().manual_seed(seed))


def test_the_model_gets_the_noised_images(model: Any, calls: list[dict[str, Any]]) -> None:
    positive = make_cond(tokens=9, seed=5, guidance=3.5)
    found = analyze(model, SETTINGS, IMAGES, positive, noise=0.3, samples=2, seed=11)
    assert len(calls) == 2
    for index, call in enumerate(calls):
        latent = (IMAGES["samples"] - SHIFT) * SCALE
        assert torch.allclose(call["x"], 0.3 * noise_of(11 + index) + 0.7 * latent, atol=CLOSE)
        assert call["t"].tolist() == pytest.approx([0.3, 0.3])
        assert torch.equal(call["c_crossattn"], positive[0][0].expand(2, -1, -1))
        assert call["y"].shape == (2, POOLED_WIDTH) and not call["y"].any()
        assert call["guidance"].tolist() == [0.0, 0.0]
    assert positive[0][1]["pooled_output"].any() and positive[0][1]["guidance"] == 3.5
    assert (found.steps, found.grid, found.batch, found.image_size) == ((0, 1), (1, 3, 4), 2, (48, 64))
    assert found.sigmas == pytest.approx((0.3, 0.3))


def test_without_a_prompt_the_model_gets_the_empty_text(model: Any, calls: list[dict[str, Any]]) -> None:
    analyze(model, SETTINGS, ONE)
    assert torch.equal(calls[0]["c_crossattn"], SETTINGS.encoded.empty_conditioning[0][0])


def test_an_evaluation_is_a_samplers_first_step_with_zero_pooled_text_and_guidance(model: Any) -> None:
    class SameNoise:
        seed = 0

        def generate_noise(self, latent: Any) -> Tensor:
            return noise_of(3)[None]

    positive = make_cond()
    bare = [[positive[0][0], {"pooled_output": torch.zeros(1, POOLED_WIDTH), "guidance": 0.0}]]
    guider, sampler = BasicGuider.execute(model, bare).result[0], KSamplerSelect.execute("euler").result[0]
    *_, sampled = sample_custom(SameNoise(), guider, sampler, torch.tensor((0.4, 0.0)), ONE, SETTINGS)
    analyzed = analyze(model, SETTINGS, ONE, positive, noise=0.4, seed=3)
    assert torch.allclose(analyzed.scores, sampled.scores, atol=CLOSE)


def test_noise_samples_are_independent_and_shared_by_the_images(model: Any) -> None:
    together = analyze(model, SETTINGS, IMAGES, samples=3, seed=7)
    for index in range(3):
        alone = analyze(model, SETTINGS, IMAGES, seed=7 + index)
        # Their sigmas differ by single bits, which the timestep embedding multiplies.
        assert torch.allclose(together.scores[index], alone.scores[0], atol=1e-3)
    for index in range(2):
        image = {"samples": IMAGES["samples"][index : index + 1]}
        alone = analyze(model, SETTINGS, image, samples=3, seed=7)
        assert torch.allclose(together.scores[:, :, index], alone.scores[:, :, 0], atol=CLOSE)
    assert not torch.allclose(together.scores[0], together.scores[1], atol=0.01)


@pytest.mark.parametrize("noise", [0.01, 0.5, 1.0])
def test_every_evaluation_has_a_sigma_of_its_own(model: Any, noise: float) -> None:
    """TeaCache and MagCache look the step up by its sigma."""
    steps, given = [], make_cond(tokens=9, seed=5)

    def look_up(apply_model: Any, options: dict[str, Any]) -> Tensor:
        sigmas = options["c"]["transformer_options"]["sample_sigmas"]
        steps.append((sigmas == options["timestep"][0]).nonzero().item())
        return apply_model(options["input"], options["timestep"], **options["c"])

    cached = model.clone()
    cached.set_model_unet_function_wrapper(look_up)
    found = analyze(cached, SETTINGS, ONE, given, noise=noise, samples=5)
    assert steps == [0, 1, 2, 3, 4]
    assert found.sigmas == pytest.approx([noise] * 5, rel=1e-6)
    schedule = make_schedule(model, noise, 256)[:-1]
    assert len(set(schedule.tolist())) == 256 and schedule.tolist() == pytest.approx([noise] * 256, rel=1e-4)


def test_seeds_wrap_around_and_noise_does_not_depend_on_the_batch() -> None:
    largest = 2**64 - 1
    assert torch.equal(seeded_noise(ONE["samples"], largest + 1), seeded_noise(ONE["samples"], 0))
    noise = seeded_noise(IMAGES["samples"], largest)
    assert torch.equal(noise[0], noise[1]) and noise.shape == IMAGES["samples"].shape


def test_masks_ranges_and_guidance_are_ignored(model: Any) -> None:
    plain = analyze(model, SETTINGS, ONE)
    masked = {**ONE, "noise_mask": torch.zeros(1, 1, 48, 64), "batch_index": [4]}
    assert torch.equal(analyze(model, SETTINGS, masked).scores, plain.scores)
    ranged = make_settings(start_percent=0.4, end_percent=0.5)
    assert analyze(model, ranged, ONE, samples=4).steps == (0, 1, 2, 3)

    def fail(arguments: Any) -> Tensor:
        raise AssertionError("guided")

    guided = model.clone()
    guided.set_model_sampler_post_cfg_function(fail)
    guided.set_model_sampler_cfg_function(fail)
    assert torch.equal(analyze(guided, SETTINGS, ONE).scores, plain.scores)


def test_a_controlnet_is_left_out_and_areas_stay(model: Any, calls: list[dict[str, Any]]) -> None:
    positive = make_cond(control=object(), control_apply_to_uncond=True, area=(6, 4, 0, 4))
    found = analyze(model, SETTINGS, ONE, positive)
    assert [call["x"].shape for call in calls] == [(1, 16, 6, 4)] and calls[0]["control"] is None
    assert found.grid == (1, 3, 4) and "control" in positive[0][1]


@pytest.mark.parametrize("layers, joint", [("all", 3), ("1", 2), ("0", 1)])
def test_nothing_runs_after_the_last_kept_joint_block(model: Any, layers: str, joint: int) -> None:
    ran: list[str] = []
    flux = model.model.diffusion_model
    handles = [
        block.register_forward_pre_hook(lambda *_, name=f"{kind} {index}": ran.append(name))
        for kind, blocks in (("joint", flux.double_blocks), ("single", flux.single_blocks))
        for index, block in enumerate(blocks)
    ]
    found = analyze(model, make_settings(layers=layers), ONE, samples=2)
    for handle in handles:
        handle.remove()
    assert ran == [f"joint {index}" for index in range(joint)] * 2
    full = analyze(model, SETTINGS, ONE, samples=2)
    assert torch.equal(found.scores, full.scores[:, list(found.layers)])


def test_the_model_is_as_it_was(model: Any) -> None:
    before = repr(model.model_options), repr(model.wrappers)
    analyze(model, SETTINGS, ONE)
    assert (repr(model.model_options), repr(model.wrappers)) == before
    assert not any(module._forward_pre_hooks or module._forward_hooks for module in model.model.modules())


def test_progress_is_shown_and_an_interrupt_raised(model: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[tuple[int, int]] = []

    def hook(value: int, total: int, preview: Any, node_id: Any = None) -> None:
        calls.append((value, total))
        if value == stop_at:
            comfy.model_management.interrupt_current_processing()

    stop_at = -1
    monkeypatch.setattr(comfy.utils, "PROGRESS_BAR_HOOK", hook)
    monkeypatch.setattr(comfy.utils, "PROGRESS_THROTTLE_MIN_INTERVAL", 0)
    analyze(model, SETTINGS, ONE, samples=3)
    assert calls == [(1, 3), (2, 3), (3, 3)]
    calls.clear()
    stop_at = 2
    with pytest.raises(comfy.model_management.InterruptProcessingException):
        analyze(model, SETTINGS, ONE, samples=3)
    assert calls == [(1, 3), (2, 3)]
    assert not any(module._forward_pre_hooks or module._forward_hooks for module in model.model.modules())


@pytest.mark.parametrize("noise", [1e-3, 0.5, 1.0])
def test_noise_is_a_flow_models_sigma(model: Any, noise: float) -> None:
    assert make_schedule(model, noise, 2).tolist() == pytest.approx([noise, noise, 0])


@pytest.mark.parametrize("kind", [comfy.model_sampling.EPS, comfy.model_sampling.COSMOS_RFLOW])
def test_noise_is_the_noise_level_in_other_models(kind: type) -> None:
    class Sampling(comfy.model_sampling.ModelSamplingDiscrete, kind):
        pass

    sampling = Sampling()
    for level in (0.1, 0.6, 0.93):
        assert noise_level(sampling, sigma_at(sampling, level)) == pytest.approx(level)
    assert sigma_at(sampling, 1.0) == pytest.approx(float(sampling.sigma_max))
    noise, latent = torch.randn(2, 4, 4, 4), torch.randn(2, 4, 4, 4)
    if kind is comfy.model_sampling.EPS:
        sigma = torch.tensor(sigma_at(sampling, 0.6))
        shown = sampling.calculate_input(sigma, sampling.noise_scaling(sigma, noise, latent))
        assert torch.allclose(shown, 0.6 * noise + 0.8 * latent, atol=CLOSE)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"noise": 0.0}, "Noise must be above 0"),
        ({"noise": 1.5}, "Noise must be above 0 and at most 1, got 1.5"),
        ({"noise": float("nan")}, "Noise must be above 0"),
        ({"samples": 0}, "at least one noise sample, got 0"),
        ({"positive": []}, "CONDITIONING is empty"),
        ({"latent": {"samples": torch.zeros(1, 16, 6, 8)}}, "is empty.*VAE Encode"),
        ({"latent": {"samples": torch.ones(1, 4, 6, 8)}}, r"\(batch, 16, height, width\), got \(1, 4, 6, 8\)"),
        ({"latent": {"samples": torch.ones(1, 16, 3, 6, 8)}}, r"got \(1, 16, 3, 6, 8\).*not a video"),
        ({"latent": {"samples": comfy.nested_tensor.NestedTensor([torch.ones(1, 16, 6, 8)] * 2)}}, "several parts"),
        ({"settings": make_settings(width=64)}, "have width 64, but this model expects 48"),
        ({"settings": make_settings(layers="3")}, "Layer 3 does not exist"),
    ],
)
def test_bad_input_is_refused_before_the_model_runs(
    model: Any, calls: list[dict[str, Any]], change: dict[str, Any], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        analyze(**{"model": model, "settings": SETTINGS, "latent": ONE, **change})
    assert not calls


def test_a_model_that_records_already_is_refused(model: Any) -> None:
    with pytest.raises(ValueError, match="records concepts already"):
        analyze(patch_model(model, SETTINGS), SETTINGS, ONE)


def test_a_cache_that_skips_everything_is_an_error_with_the_reason(model: Any) -> None:
    model.add_wrapper_with_key(WrappersMP.PREDICT_NOISE, "cache", lambda executor, x, *rest: torch.zeros_like(x))
    with pytest.raises(ValueError, match=r"Nothing was recorded: \S+"):
        analyze(model, SETTINGS, ONE)


@pytest.mark.parametrize("frames, expected", [(None, (1, 12, 1, 12, 8)), (5, (1, 12, 5, 12, 8))])
def test_a_video_model_takes_images_and_videos(frames: int | None, expected: tuple[int, ...]) -> None:
    (row,) = mochi.VARIANTS
    shape = (1, 12, 12, 8) if frames is None else (1, 12, frames, 12, 8)
    assert check_latent(row.make(), torch.ones(shape)).shape == expected
    with pytest.raises(ValueError, match=r"\(batch, 12, frames, height, width\), got \(1, 16, 6, 8\)"):
        check_latent(row.make(), torch.ones(1, 16, 6, 8))


def test_an_image_model_whose_latents_have_a_time_axis_takes_one_frame() -> None:
    row = next(row for row in qwen_image.VARIANTS if row.name.startswith("Qwen-Image"))
    model = row.make()
    for shape in ((1, 16, 6, 8), (1, 16, 1, 6, 8)):
        assert check_latent(model, torch.ones(shape)).shape == (1, 16, 1, 6, 8)
    with pytest.raises(ValueError, match=r"\(batch, 16, height, width\), got \(1, 16, 5, 6, 8\).*not a video"):
        check_latent(model, torch.ones(1, 16, 5, 6, 8))


@pytest.mark.parametrize("frames, counts", [(1, None), (3, (1, 6, 6))])
def test_a_video_is_recorded_with_its_frames(frames: int, counts: tuple[int, ...] | None) -> None:
    (row,) = mochi.VARIANTS
    latent = torch.randn(2, 12, frames, 12, 8, generator=torch.Generator().manual_seed(0))
    found = analyze(row.make(), Settings(make_encoded(width=64)), {"samples": latent}, row.cond(), samples=2)
    assert (found.grid, found.frame_counts, found.steps, found.batch) == ((frames, 6, 4), counts, (0, 1), 2)


def test_the_mean_over_noise_samples_can_be_kept(model: Any) -> None:
    every = analyze(model, SETTINGS, IMAGES, samples=3)
    mean = analyze(model, make_settings(keep="running mean"), IMAGES, samples=3)
    assert mean.averaged == "share" and mean.scores.shape == (1, *every.scores.shape[1:])
    difference = make_heatmaps(mean).values - make_heatmaps(every).values
    assert float(difference.abs().max()) < 1e-6


def test_the_one_shot_sampler_passes_extra_arguments_to_the_model(model: Any) -> None:
    calls: list[Any] = []

    class Wrap:
        inner_model = model.model

        def __call__(self, x: Tensor, sigma: Tensor, **extra: Any) -> Tensor:
            calls.append((sigma.tolist(), extra))
            return x

    steps: list[tuple[int, int]] = []
    note: Callable[..., None] = lambda step, x0, x, total: steps.append((step, total))  # noqa: E731
    sigmas = torch.full((3,), 0.2)
    result = OneShotSampler(0).sample(Wrap(), sigmas, {"seed": 5}, note, ONE["samples"], ONE["samples"])
    assert torch.equal(result, ONE["samples"]) and steps == [(0, 2), (1, 2)]
    assert calls == [([pytest.approx(0.2)], {"seed": 5})] * 2
