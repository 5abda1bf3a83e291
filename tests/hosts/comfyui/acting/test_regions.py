"""Prompts that count where a concept is: exactly there, from when on they should, and nothing else changes."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

import comfy.model_management
import comfy.samplers
import pytest
import torch
from comfy.patcher_extension import WrappersMP
from nodes import ConditioningCombine, ConditioningSetMask, ConditioningSetTimestepRange
from torch import Tensor

from concept_attention.errors import UserError
from concept_attention.hosts.comfyui.acting import place as place_module
from concept_attention.hosts.comfyui.acting.place import LiveMask, Place
from concept_attention.hosts.comfyui.acting.prompts import Region, add_region
from concept_attention.hosts.comfyui.acting.regions import PromptsOfRegions
from concept_attention.hosts.comfyui.analysis import analyze
from concept_attention.hosts.comfyui.patching import add_part, patch_model
from concept_attention.hosts.comfyui.sampling import ResultHolder

from ....support.comfyui.recording_spy import footprint
from ....support.comfyui.settings import make_settings
from ....support.comfyui.tiny import make_cond, make_flux, make_latent, sample

ENCODED = make_settings(seed=8).encoded  # the tree wins some of the tokens
BASE, OTHER = make_cond(seed=1), make_cond(seed=11)
WAYS = ("blend", "keep the rest")


@pytest.fixture(scope="module")
def small() -> Any:
    """A model for many runs. Do not change it: tests share it."""
    return make_flux(joint_blocks=2, single_blocks=1)


def with_region(
    model: Any, way: Any = "blend", base: Any = BASE, regional: Any = OTHER, **place: Any
) -> tuple[Any, Any]:
    """MODEL and CONDITIONING with a region for the tree, by the first step's map."""
    where = Place(("tree",), **{"start": 0.0, "freeze": 0.0, "shape": "hard", **place})
    region = Region(where, way, ENCODED.fingerprint())
    return add_part(model, ENCODED, PromptsOfRegions(where.last_percent)), add_region(base, regional, region)


@pytest.fixture
def fixed(monkeypatch: pytest.MonkeyPatch) -> Tensor:
    """A mask (1, 1, 12, 8) with fractions that every place has from the first evaluation on."""
    mask = torch.rand(1, 1, 12, 8, generator=torch.Generator().manual_seed(3))
    mask[..., :3, :], mask[..., 6:, :] = 0.0, 1.0
    monkeypatch.setattr(LiveMask, "at", lambda self, step: mask)
    monkeypatch.setattr(LiveMask, "latest", mask, raising=False)
    monkeypatch.setattr(LiveMask, "__init__", lambda self, place, concepts, steps: None)
    monkeypatch.setattr(LiveMask, "needs", lambda self, step: False)
    return mask


def set_mask(cond: Any, mask: Tensor, strength: float = 1.0) -> Any:
    return ConditioningSetMask().append(cond, mask, "default", strength)[0]


# The oracle: ComfyUI's own masks


@pytest.mark.parametrize("cfg", [1.0, 4.0])
@pytest.mark.parametrize("sampler_name", ["euler", "heun", "dpmpp_sde", "uni_pc", "lcm"])
def test_a_fixed_map_is_comfyui_s_own_conditioning_mask_bit_for_bit(
    small: Any, fixed: Tensor, cfg: float, sampler_name: str
) -> None:
    model, positive = with_region(small)
    oracle = [*set_mask(BASE, 1 - fixed[0]), *set_mask(OTHER, fixed[0])]
    expected = sample(small, oracle, cfg=cfg, sampler_name=sampler_name)
    assert torch.equal(sample(model, positive, cfg=cfg, sampler_name=sampler_name), expected)
    assert not torch.equal(expected, sample(small, BASE, cfg=cfg, sampler_name=sampler_name))


def test_masks_of_both_prompts_multiply_the_region_s(small: Any, fixed: Tensor) -> None:
    own, other = (torch.rand(1, 12, 8, generator=torch.Generator().manual_seed(n)) for n in (5, 6))
    base, regional = set_mask(BASE, own), set_mask(OTHER, other, 0.5)
    rest = make_cond(seed=12)
    model, positive = with_region(small, base=[*base, *set_mask(rest, 1 - own)], regional=regional)
    m = fixed[0] * other * 0.5
    oracle = [*set_mask(BASE, own * (1 - m)), *set_mask(rest, (1 - own) * (1 - m)), *set_mask(OTHER, m)]
    torch.testing.assert_close(sample(model, positive), sample(small, oracle), atol=1e-5, rtol=1e-5)


def test_two_base_prompts_without_masks_keep_their_average_under_a_region(small: Any, fixed: Tensor) -> None:
    """ComfyUI averages them; where the region's mask is one half, it counts as much as both together."""
    rest = make_cond(seed=12)
    model, positive = with_region(small, base=ConditioningCombine().combine(BASE, rest)[0])
    half = (1 - fixed[0]) / 2
    oracle = [*set_mask(BASE, half), *set_mask(rest, half), *set_mask(OTHER, fixed[0])]
    torch.testing.assert_close(sample(model, positive), sample(small, oracle), atol=1e-5, rtol=1e-5)


def test_a_base_prompt_keeps_its_area_with_its_faded_border(small: Any, fixed: Tensor) -> None:
    area = make_cond(seed=12)
    area[0][1] |= {"area": (6, 8, 6, 0), "strength": 1.0}
    fixed.zero_()[..., :3, :] = 1.0
    model, positive = with_region(small, base=[*BASE, *area])
    ones = torch.ones(1, 12, 8)
    faded = ones.clone()
    faded[:, 6] = 1.0  # a quarter of 6 rows is 1: one row, of full weight
    oracle = [*set_mask(BASE, 1 - fixed[0]), *area, *set_mask(OTHER, fixed[0])]
    torch.testing.assert_close(sample(model, positive), sample(small, oracle), atol=1e-5, rtol=1e-5)


def test_regions_that_overlap_share_out_what_is_there(small: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    masks = {"tree": torch.zeros(1, 1, 12, 8), "sky": torch.zeros(1, 1, 12, 8)}
    masks["tree"][..., :8, :], masks["sky"][..., 4:, :] = 1.0, 1.0
    monkeypatch.setattr(LiveMask, "at", lambda self, step: masks[self._place.concepts[0]])
    third = make_cond(seed=13)
    model, positive = with_region(small)
    sky = Region(Place(("sky",), start=0.0), "blend", ENCODED.fingerprint())
    model, positive = add_part(model, ENCODED, PromptsOfRegions(0.5)), add_region(positive, third, sky)
    tree = masks["tree"][0].clone()
    tree[:, 4:8] = 0.5
    oracle = [*set_mask(BASE, torch.zeros(1, 12, 8)), *set_mask(OTHER, tree), *set_mask(third, 1 - tree)]
    torch.testing.assert_close(sample(model, positive), sample(small, oracle), atol=1e-5, rtol=1e-5)


def test_a_prompt_s_schedule_holds_within_a_region(small: Any, fixed: Tensor) -> None:
    late = ConditioningSetTimestepRange().set_range(OTHER, 0.4, 1.0)[0]
    model, positive = with_region(small, regional=late)
    oracle = [*set_mask(BASE, 1 - fixed[0]), *set_mask(late, fixed[0])]
    expected = sample(small, oracle, steps=4)
    found = sample(model, positive, steps=4)
    assert not torch.equal(found, expected)  # ComfyUI's masks leave a hole while the late prompt waits
    full_then_masked = _switched(small, fixed, late)
    torch.testing.assert_close(found, full_then_masked, atol=1e-5, rtol=1e-5)


def _switched(model: Any, mask: Tensor, late: Any) -> Tensor:
    early = ConditioningSetTimestepRange().set_range(BASE, 0.0, 0.4)[0]
    base = ConditioningSetTimestepRange().set_range(BASE, 0.4, 1.0)[0]
    return sample(model, [*early, *set_mask(base, 1 - mask[0]), *set_mask(late, mask[0])], steps=4)


def test_every_picture_of_a_batch_has_a_mask_of_its_own(small: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    masks = torch.rand(2, 1, 12, 8, generator=torch.Generator().manual_seed(3))
    monkeypatch.setattr(LiveMask, "at", lambda self, step: masks)
    model, positive = with_region(small)
    empty = torch.zeros_like(make_latent(batch=2))
    oracle = [*set_mask(BASE, 1 - masks[:, 0]), *set_mask(OTHER, masks[:, 0])]
    assert torch.equal(sample(model, positive, latent=empty), sample(small, oracle, latent=empty))


@pytest.mark.parametrize("first", ["region", "recording"])
@pytest.mark.parametrize("recorded", [{}, {"start_percent": 0.5}, {"keep": "running mean", "layers": "0"}])
def test_a_region_and_a_recording_share_one_run(small: Any, first: str, recorded: dict[str, Any]) -> None:
    """What is recorded does not depend on what the region needs; the region sees the layers that are recorded."""
    settings, holder = make_settings(seed=8, **recorded), ResultHolder()
    where = Place(("tree",), start=0.0, freeze=0.0, shape="hard")
    part, region = PromptsOfRegions(where.last_percent), Region(where, "blend", ENCODED.fingerprint())
    if first == "region":
        model = patch_model(add_part(small, ENCODED, part), settings, holder)
    else:
        model = add_part(patch_model(small, settings, holder), ENCODED, part)
    found = sample(model, add_region(BASE, OTHER, region), steps=4)
    recording = holder.recording()
    expected = {"start_percent": "2 of 2", "keep": "4 of 4"}.get(next(iter(recorded), "keep"))
    assert recording.metadata["steps"] == f"{expected} steps recorded" and recording.regions == ("tree",)
    if "layers" not in recorded:
        plain_model, positive = with_region(small)
        assert torch.equal(found, sample(plain_model, positive, steps=4))


# Nothing to act on: nothing changes


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("cfg", [1.0, 4.0])
@pytest.mark.parametrize("why", ["strength 0", "absent", "never starts", "no CONDITIONING"])
def test_the_latent_is_bit_identical_if_nothing_acts(
    small: Any, way: Any, cfg: float, why: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    options = {"strength 0": {"strength": 0.0}, "never starts": {"start": 1.0}}.get(why, {})
    if why == "absent":
        monkeypatch.setattr(place_module, "_WINNING_SHARE", 1.0)  # no share is greater
    model, positive = with_region(small, way, **options)
    plain = sample(small, BASE, cfg=cfg)
    if why == "no CONDITIONING":
        positive = BASE
    assert torch.equal(sample(model, positive, cfg=cfg), plain)


def test_before_it_starts_a_region_costs_no_evaluation(small: Any) -> None:
    model, positive = with_region(small, start=0.5, freeze=1.0)
    rows: list[int] = []

    def count(executor: Any, x: Tensor, *args: Any, **kwargs: Any) -> Any:
        rows.append(len(x))
        return executor(x, *args, **kwargs)

    model.add_wrapper_with_key(WrappersMP.APPLY_MODEL, "count", count)
    sample(model, positive, steps=4)
    assert rows == [1, 1, 2, 2]


# Keep the rest


@pytest.mark.parametrize("cfg", [1.0, 4.0])
@pytest.mark.parametrize("sampler_name", ["euler", "euler_ancestral", "heun", "dpmpp_2m", "dpmpp_sde", "lcm"])
def test_outside_of_a_kept_region_the_latent_is_the_plain_run_s(small: Any, cfg: float, sampler_name: str) -> None:
    options: dict[str, Any] = {"cfg": cfg, "sampler_name": sampler_name, "steps": 4}
    plain, holder = sample(small, BASE, **options), ResultHolder()
    model, positive = with_region(small, "keep the rest")
    found = sample(patch_model(model, make_settings(seed=8), holder), positive, **options)
    result = holder._result
    assert result is not None and result.unchanged is not None and torch.equal(result.unchanged, plain)
    outside = (result.masks["tree"][:, 0] == 0)[:, None].expand_as(found)
    assert 0 < outside.sum() < outside.numel()
    assert torch.equal(found[outside], plain[outside])
    assert not torch.allclose(found[~outside], plain[~outside], atol=1e-3)


def test_a_kept_region_that_is_everything_is_the_other_prompt_s_picture(small: Any, fixed: Tensor) -> None:
    fixed.fill_(1.0)
    model, positive = with_region(small, "keep the rest")
    assert torch.equal(sample(model, positive, cfg=4.0), sample(small, OTHER, cfg=4.0))


def test_a_kept_region_follows_a_naive_loop(small: Any, fixed: Tensor) -> None:
    """Euler's steps spelled out, both runs side by side."""
    mask = fixed
    sigmas = comfy.samplers.KSampler(small, 3, torch.device("cpu"), "euler", "simple", 1.0, {}).sigmas
    first = second = None
    predictions: dict[str, list[Tensor]] = {"base": [], "other": []}

    class Spy(comfy.samplers.CFGGuider):
        def predict_noise(self, x: Tensor, timestep: Tensor, model_options: Any = {}, seed: Any = None) -> Tensor:  # noqa: B006
            nonlocal first, second
            base, other = self.conds["positive"], self.conds["other"]
            call = comfy.samplers.calc_cond_batch
            first = x if first is None else first
            second = x if second is None else second
            at = torch.where(mask > 0, second, first)
            d1 = call(self.inner_model, [base], first, timestep, model_options)[0]
            d2 = mask * call(self.inner_model, [other], at, timestep, model_options)[0] + (1 - mask) * d1
            step = len(predictions["base"])
            predictions["base"].append(d1)
            ratio = sigmas[step + 1] / sigmas[step]
            first, second = first * ratio + d1 * (1 - ratio), second * ratio + d2 * (1 - ratio)
            return d1

    guider = Spy(small)
    guider.inner_set_conds({"positive": BASE, "other": OTHER})
    latent = torch.zeros_like(make_latent())
    noise = comfy.sample.prepare_noise(latent, 0)
    guider.sample(noise, latent, comfy.samplers.sampler_object("euler"), sigmas, disable_pbar=True, seed=0)
    assert first is not None and second is not None
    expected = small.model.process_latent_out(torch.where(mask > 0, second, first))
    model, positive = with_region(small, "keep the rest")
    torch.testing.assert_close(sample(model, positive), expected, atol=1e-4, rtol=1e-4)


def test_a_sampler_that_chooses_its_own_steps_cannot_keep_the_rest(small: Any) -> None:
    model, positive = with_region(small, "keep the rest")
    before = footprint(model)
    with pytest.raises(UserError, match="chooses its steps by the picture"):
        sample(model, positive, sampler_name="dpm_adaptive", steps=4)
    assert footprint(model) == before


# Nothing stays


@contextlib.contextmanager
def raising(error: type[BaseException], monkeypatch: pytest.MonkeyPatch, at: int) -> Iterator[None]:
    """The model raises in its evaluation number `at`."""
    calls = 0
    own = comfy.samplers.calc_cond_batch

    def fail(*args: Any, **kwargs: Any) -> Any:
        nonlocal calls
        calls += 1
        if calls == at:
            raise error("on purpose")
        return own(*args, **kwargs)

    with monkeypatch.context() as patch:
        patch.setattr(comfy.samplers, "calc_cond_batch", fail)
        yield


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("at", [2, 5])
@pytest.mark.parametrize("error", [RuntimeError, comfy.model_management.InterruptProcessingException])
def test_errors_and_interrupts_leave_nothing(
    small: Any, way: Any, at: int, error: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    model, positive = with_region(small, way)
    before, conds = footprint(model), {**positive[-1][1]}
    expected = sample(model, positive, steps=6)
    with raising(error, monkeypatch, at), pytest.raises(error):
        sample(model, positive, steps=6)
    assert footprint(model) == before and positive[-1][1] == conds
    assert torch.equal(sample(model, positive, steps=6), expected)
    assert torch.equal(sample(small, BASE, steps=6), sample(make_flux(joint_blocks=2, single_blocks=1), BASE, steps=6))


# Refusals


def test_what_cannot_be_a_region_says_why(small: Any) -> None:
    only = make_settings(("house",)).encoded
    with pytest.raises(UserError, match="in comparison with something else"):
        Place(("house",)).indices(only.concepts)
    with pytest.raises(UserError, match="start must lie in 0 to 1"):
        Place(("house",), start=1.5)
    area = make_cond(seed=3)
    area[0][1]["area"] = (4, 4, 0, 0)
    with pytest.raises(UserError, match="has an area"):
        with_region(small, regional=area)
    other = make_settings(("house", "lake")).encoded
    model, _ = with_region(small)
    with pytest.raises(UserError, match="One run has one list of concepts"):
        add_part(model, other, PromptsOfRegions(0.5))
    stranger = Region(Place(("house",)), "blend", other.fingerprint())
    with pytest.raises(UserError, match="come from nodes with different concepts"):
        sample(model, add_region(BASE, OTHER, stranger))


def test_a_concept_that_could_not_be_looked_for_is_an_error_with_the_reason(
    small: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: Any) -> Any:
        raise RuntimeError("on purpose")

    monkeypatch.setattr("concept_attention.hosts.collector.Collector.score", fail)
    model, positive = with_region(small)
    with pytest.raises(UserError, match="tree is, as it was not found: recording failed with RuntimeError: on purpose"):
        sample(model, positive)


def test_a_region_whose_model_is_not_connected_is_an_error(small: Any) -> None:
    _, positive = with_region(small)
    with pytest.raises(UserError, match="has a region, tree, and nothing in this run acts on it. Connect the MODEL of"):
        sample(small, positive)
    with pytest.raises(UserError, match="Connect the MODEL of"):  # recording alone does not act
        sample(patch_model(small, make_settings(seed=8)), positive)
    with pytest.raises(UserError, match="Connect the MODEL of"):  # other nodes keep it
        sample(small, set_mask(positive, torch.ones(1, 12, 8)))


def test_existing_images_are_looked_at_with_the_base_prompt_alone(small: Any) -> None:
    _, positive = with_region(small)
    latent, settings = {"samples": make_latent()}, make_settings(seed=8)
    assert torch.equal(analyze(small, settings, latent, positive).scores, analyze(small, settings, latent, BASE).scores)


def test_a_region_whose_prompt_is_not_connected_is_named(small: Any, caplog: pytest.LogCaptureFixture) -> None:
    model, _ = with_region(small)
    sample(model, BASE)
    assert "Connect the CONDITIONING of Prompt Where a Concept Is as well." in caplog.text
