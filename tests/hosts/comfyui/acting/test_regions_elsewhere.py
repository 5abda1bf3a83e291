"""Regions in videos, context windows and other guiders, with ControlNets, and in other packs' parts of latents."""

from __future__ import annotations

from typing import Any

import comfy.context_windows
import comfy.sample
import comfy.samplers
import pytest
import torch
from comfy_extras.nodes_custom_sampler import Guider_DualCFG
from nodes import ConditioningSetMask
from torch import Tensor

from concept_attention.errors import UserError
from concept_attention.hosts.comfyui.acting.place import LiveMask, Place
from concept_attention.hosts.comfyui.acting.prompts import Region, add_region
from concept_attention.hosts.comfyui.acting.regions import PromptsOfRegions
from concept_attention.hosts.comfyui.patching import add_part, patch_model
from concept_attention.hosts.comfyui.sampling import ResultHolder

from ....support.comfyui.architectures.hunyuan_video import VARIANTS as VIDEO_VARIANTS
from ....support.comfyui.settings import make_settings
from ....support.comfyui.tiny import make_cond, make_flux, make_latent, sample
from .test_strength import Control

ENCODED = make_settings(seed=8).encoded
BASE, OTHER = make_cond(seed=1), make_cond(seed=11)


@pytest.fixture(scope="module")
def small() -> Any:
    return make_flux(joint_blocks=2, single_blocks=1)


def with_region(model: Any, regional: Any = OTHER, encoded: Any = ENCODED, base: Any = BASE, **place: Any) -> Any:
    where = Place(("tree",), **{"start": 0.0, "freeze": 0.0, "shape": "hard", **place})
    region = Region(where, "blend", encoded.fingerprint())
    return add_part(model, encoded, PromptsOfRegions(where.last_percent)), add_region(base, regional, region)


def masked(base: Any, other: Any, mask: Tensor) -> Any:
    append = ConditioningSetMask().append
    return [*append(base, 1 - mask, "default", 1.0)[0], *append(other, mask, "default", 1.0)[0]]


def always(monkeypatch: pytest.MonkeyPatch, mask: Tensor) -> None:
    monkeypatch.setattr(LiveMask, "at", lambda self, step: mask)


@pytest.mark.parametrize("architecture", VIDEO_VARIANTS[:1], ids=lambda one: one.name)
def test_every_latent_frame_of_a_video_has_a_mask_of_its_own(
    architecture: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    model, encoded = architecture.make(), make_settings(width=architecture.text_width).encoded
    latent = architecture.empty()
    masks = torch.rand(1, *latent.shape[2:], generator=torch.Generator().manual_seed(3))
    always(monkeypatch, masks)
    base, other = architecture.cond(), [[-architecture.cond()[0][0], architecture.cond()[0][1]]]
    acting, positive = with_region(model, other, encoded, base)
    conds = [[[text, dict(options)] for text, options in one] for one in (base, other)]
    conds[0][0][1] |= {"mask": 1 - masks, "mask_strength": 1.0}
    conds[1][0][1] |= {"mask": masks, "mask_strength": 1.0}
    expected = sample(model, [*conds[0], *conds[1]], latent=latent)
    assert torch.equal(sample(acting, positive, latent=latent), expected)
    holder = ResultHolder()
    sample(patch_model(acting, make_settings(width=architecture.text_width), holder), positive, latent=latent)
    assert holder._result is not None and holder._result.masks["tree"].shape == masks.shape


def test_context_windows_get_their_part_of_the_mask(small: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Windows over the pictures of a batch, which are what a Flux has in place of frames."""
    masks = torch.rand(4, 1, 12, 8, generator=torch.Generator().manual_seed(3))
    always(monkeypatch, masks)
    model, positive = with_region(small)
    seen: list[Tensor] = []
    own = comfy.samplers._calc_cond_batch

    def spy(model: Any, conds: Any, x: Tensor, timestep: Tensor, options: Any) -> Any:
        window = options["transformer_options"]["context_window"].index_list
        seen.append(conds[0][1]["mask"])
        first = window[-1] + 1 - len(x)  # the frame before a later window leads it
        assert torch.equal(seen[-1], masks[first : window[-1] + 1, 0])
        return own(model, conds, x, timestep, options)

    handler = comfy.context_windows.IndexListContextHandler(
        context_schedule=comfy.context_windows.get_matching_context_schedule("standard_static"),
        fuse_method=comfy.context_windows.get_matching_fuse_method("pyramid"),
        context_length=2,
        context_overlap=0,
        context_stride=1,
        closed_loop=False,
        dim=0,
    )
    model.model_options["context_handler"] = handler
    monkeypatch.setattr(comfy.samplers, "_calc_cond_batch", spy)
    sample(model, positive, latent=torch.zeros_like(make_latent(batch=4)), steps=1)
    assert len(seen) == 2


def test_a_pack_that_evaluates_parts_of_the_latent_is_refused(small: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    always(monkeypatch, torch.ones(1, 1, 12, 8))
    model, positive = with_region(small)

    def halves(call: Any) -> Any:
        parts = call["input"].chunk(2, dim=2)
        out = [
            comfy.samplers.calc_cond_batch(call["model"], call["conds"], part, call["sigma"], call["model_options"])
            for part in parts
        ]
        return [torch.cat(one, dim=2) for one in zip(*out, strict=True)]

    model.model_options["sampler_calc_cond_batch_function"] = halves
    with pytest.raises(UserError, match="cannot be followed in parts of the latent"):
        sample(model, positive)


class OwnLoop(comfy.samplers.Sampler):  # type: ignore[misc]
    """As other packs' samplers: reports steps after their last evaluation, or more of them than planned.

    Args:
        script: the step to report after an evaluation, or None, and its sigma.
    """

    def __init__(self, *script: tuple[int | None, float]) -> None:
        self._script = script

    def sample(self, wrap: Any, sigmas: Tensor, extra: Any, callback: Any, noise: Tensor, *_: Any, **__: Any) -> Tensor:
        x = noise
        for step, sigma in self._script:
            denoised = wrap(x, torch.tensor([sigma]), **extra)
            x = x * 0.5 + denoised * 0.5
            if step is not None:
                callback(step, denoised, x, len(sigmas) - 1)
        return x


class PerList(comfy.samplers.CFGGuider):  # type: ignore[misc]
    """As other packs' guiders: each list of prompts in a call of its own, weighted in its own way."""

    def predict_noise(self, x: Tensor, timestep: Tensor, model_options: Any = None, seed: Any = None) -> Tensor:
        positive, negative = (
            comfy.samplers.calc_cond_batch(self.inner_model, [self.conds[name]], x, timestep, model_options or {})[0]
            for name in ("positive", "negative")
        )
        return negative + 2.5 * (positive - negative) / (1 + timestep.view(-1, 1, 1, 1))


@pytest.mark.parametrize("kind", [comfy.samplers.CFGGuider, PerList], ids=["core's guider", "its own guider"])
@pytest.mark.parametrize(
    "script",
    [((None, 1.0), (0, 0.9), (None, 0.6), (1, 0.4)), ((0, 1.0), (1, 0.8), (2, 0.6), (3, 0.4))],
    ids=["after the last evaluation", "more steps than planned"],
)
def test_other_packs_samplers_and_guiders_take_a_region(
    small: Any, kind: Any, script: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    mask = torch.rand(1, 1, 12, 8, generator=torch.Generator().manual_seed(3))
    always(monkeypatch, mask)

    def run(model: Any, positive: Any) -> Tensor:
        guider = kind(model)
        guider.inner_set_conds({"positive": positive, "negative": make_cond(seed=22)})
        noise, sigmas = make_latent(seed=4), torch.linspace(1, 0, 3)
        options: dict[str, Any] = {"callback": lambda *_: None, "disable_pbar": True}
        return guider.sample(noise, torch.zeros_like(noise), OwnLoop(*script), sigmas, **options)

    model, positive = with_region(small)
    found = run(model, positive)
    assert torch.equal(found, run(small, masked(BASE, OTHER, mask[0])))
    assert not torch.allclose(found, run(small, BASE), atol=1e-3)


@pytest.mark.parametrize("cfg", [1.0, 4.0])
def test_a_controlnet_of_the_regional_prompt_acts_there_and_not_on_the_negative(
    small: Any, cfg: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    mask = torch.rand(1, 1, 12, 8, generator=torch.Generator().manual_seed(3))
    always(monkeypatch, mask)
    controlled = [[OTHER[0][0], {**OTHER[0][1], "control": Control(), "control_apply_to_uncond": False}]]
    loud = [[OTHER[0][0], {**OTHER[0][1], "control": Control(), "control_apply_to_uncond": True}]]
    expected = sample(small, masked(BASE, controlled, mask[0]), cfg=cfg)
    model, positive = with_region(small, loud)
    assert torch.equal(sample(model, positive, cfg=cfg), expected)
    assert not torch.allclose(expected, sample(small, masked(BASE, OTHER, mask[0]), cfg=cfg), atol=1e-3)


def test_a_guider_of_three_prompts_takes_a_region(small: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    mask = torch.rand(1, 1, 12, 8, generator=torch.Generator().manual_seed(3))
    always(monkeypatch, mask)
    latent = torch.zeros_like(make_latent())
    noise = comfy.sample.prepare_noise(latent, 0)

    def run(model: Any, positive: Any) -> Tensor:
        guider = Guider_DualCFG(model)
        guider.set_conds(positive, make_cond(seed=21), make_cond(seed=22))
        guider.set_cfg(3.0, 2.0)
        sigmas = comfy.samplers.KSampler(model, 3, torch.device("cpu"), "euler", "simple", 1.0, {}).sigmas
        sampler = comfy.samplers.sampler_object("euler")
        return guider.sample(noise, latent, sampler, sigmas, disable_pbar=True, seed=0)

    model, positive = with_region(small)
    assert torch.equal(run(model, positive), run(small, masked(BASE, OTHER, mask[0])))


def test_the_map_of_a_live_region_is_the_recording_s_share_cut_at_one_half(small: Any) -> None:
    """Nothing is patched here: the mask at the end, from the recording of the same run, by its formula."""
    holder = ResultHolder()
    model, positive = with_region(small, shape="soft", strength=0.5)
    sample(patch_model(model, make_settings(seed=8), holder), positive, steps=4)
    result = holder._result
    assert result is not None and result.recording is not None
    shares = result.recording.scores[0].softmax(dim=2)[list(_usual(result.recording))].mean(dim=0)[0, 1]
    assert shares.max() > 0.5
    tokens = shares.view(1, 1, 6, 4)
    pixels = torch.nn.functional.interpolate(tokens, size=(12, 8), mode="bilinear", antialias=True)
    expected = 0.5 * ((pixels - 0.2) / 0.3).clamp(0, 1)
    torch.testing.assert_close(result.masks["tree"], expected, atol=1e-5, rtol=1e-5)


def _usual(recording: Any) -> tuple[int, ...]:
    return tuple(recording.layers.index(layer) for layer in recording.default_layers)
