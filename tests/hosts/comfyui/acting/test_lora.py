"""LoRAs that act where a concept is: as core's where the mask is 1, not at all where it is 0, in one evaluation."""

from __future__ import annotations

import math
from typing import Any

import comfy.hooks
import comfy.lora
import comfy.sd
import pytest
import torch
from comfy.patcher_extension import WrappersMP
from torch import Tensor

from concept_attention.errors import UserError
from concept_attention.hosts.comfyui.acting.lora import LoraSomewhere, check_lora
from concept_attention.hosts.comfyui.acting.place import LiveMask, Place
from concept_attention.hosts.comfyui.patching import add_part, patch_model

from ....support.comfyui.architectures.lumina import VARIANTS as LUMINA_VARIANTS
from ....support.comfyui.architectures.qwen_image import VARIANTS as QWEN_VARIANTS
from ....support.comfyui.architectures.sd3 import VARIANTS as SD3_VARIANTS
from ....support.comfyui.recording_spy import footprint
from ....support.comfyui.settings import make_settings
from ....support.comfyui.tiny import make_cond, make_flux, make_latent, sample

ENCODED = make_settings(seed=8).encoded
PLACE = Place(("tree",), start=0.0, freeze=0.0)
HALF = torch.zeros(1, 1, 12, 8)
HALF[..., :6, :] = 1.0  # the upper half of the tokens


@pytest.fixture(scope="module")
def small() -> Any:
    return make_flux(joint_blocks=2, single_blocks=1)


def make_lora(model: Any, rank: int = 2, seed: int = 5, only: str = "") -> dict[str, Tensor]:
    """A random LoRA in the usual format, for the linear layers in blocks whose name contains `only`."""
    generator = torch.Generator().manual_seed(seed)
    weights = {}
    for name, module in model.model.diffusion_model.named_modules():
        if isinstance(module, torch.nn.Linear) and "block" in name and only in name:
            rows, columns = module.weight.shape
            key = f"diffusion_model.{name}"
            weights[f"{key}.lora_A.weight"] = torch.randn(rank, columns, generator=generator) / math.sqrt(columns)
            weights[f"{key}.lora_B.weight"] = torch.randn(rows, rank, generator=generator) * 0.3
    assert weights
    return weights


def somewhere(model: Any, weights: dict[str, Tensor], strength: float = 0.8, place: Place = PLACE) -> Any:
    return add_part(model, ENCODED, LoraSomewhere("style", weights, strength, place))


def always(monkeypatch: pytest.MonkeyPatch, mask: Tensor | None) -> None:
    monkeypatch.setattr(LiveMask, "at", lambda self, step: mask)


@pytest.mark.parametrize("cfg", [1.0, 4.0])
def test_where_the_mask_is_one_everywhere_it_is_core_s_bypass_lora(
    small: Any, cfg: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    weights = make_lora(small)
    core, _ = comfy.sd.load_bypass_lora_for_models(small, None, weights, 0.8, 0.0)
    expected = sample(core, cfg=cfg)
    always(monkeypatch, torch.ones(1, 1, 12, 8))
    assert torch.equal(sample(somewhere(small, weights), cfg=cfg), expected)
    assert not torch.allclose(expected, sample(small, cfg=cfg), atol=1e-2)


def test_one_evaluation_serves_the_prompt_and_all_loras(small: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    always(monkeypatch, HALF)
    model = somewhere(somewhere(small, make_lora(small)), make_lora(small, seed=6))
    rows: list[int] = []

    def count(executor: Any, x: Tensor, *args: Any, **kwargs: Any) -> Any:
        rows.append(len(x))
        return executor(x, *args, **kwargs)

    model.add_wrapper_with_key(WrappersMP.APPLY_MODEL, "count", count)
    sample(model, steps=3)
    assert rows == [1, 1, 1]


@pytest.mark.parametrize("only", ["double_blocks.1.img_mlp.0", "double_blocks.1.txt_mlp.0", "single_blocks.0.linear1"])
def test_every_token_gets_its_own_factor(small: Any, only: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A layer's output token by token: what core adds, times the mask at that token, or times its mean."""
    weights = make_lora(small, only=only)
    always(monkeypatch, HALF)
    network = small.model.diffusion_model
    seen: list[tuple[Tensor, Tensor]] = []
    model = somewhere(small, weights)

    def spy(executor: Any, *args: Any, **kwargs: Any) -> Any:
        handle = network.get_submodule(only).register_forward_hook(
            lambda _, args, output: seen.append((args[0].clone(), output.clone()))
        )
        try:
            return executor(*args, **kwargs)
        finally:
            handle.remove()

    plain: list[tuple[Tensor, Tensor]] = []
    model.add_wrapper_with_key(WrappersMP.DIFFUSION_MODEL, "spy", spy)
    sample(model, steps=1)
    x, output = seen[0]
    module = network.get_submodule(only)
    up, down = weights[f"diffusion_model.{only}.lora_B.weight"], weights[f"diffusion_model.{only}.lora_A.weight"]
    factor = {"img": [1.0] * 12 + [0.0] * 12, "txt": [0.5] * 7, "lin": [0.5] * 7 + [1.0] * 12 + [0.0] * 12}
    wanted = factor[only.split(".")[2][:3]]
    assert x.shape[1] == len(wanted) and not plain
    for token, share in enumerate(wanted):
        expected = module(x[:, token]) + 0.8 * share * (x[:, token] @ down.T @ up.T)
        torch.testing.assert_close(output[:, token], expected, atol=1e-5, rtol=1e-5)


def test_a_part_of_a_fused_layer_is_added_to_that_part(small: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Diffusers' LoRAs have queries, keys and values apart, where ComfyUI's layer has all three in one."""
    generator = torch.Generator().manual_seed(5)
    key = "transformer.transformer_blocks.0.attn.to_k"
    weights = {
        f"{key}.lora_A.weight": torch.randn(2, 128, generator=generator) / 12,
        f"{key}.lora_B.weight": torch.randn(128, 2, generator=generator),
    }
    always(monkeypatch, torch.ones(1, 1, 12, 8))
    merged, _ = comfy.sd.load_lora_for_models(small, None, weights, 0.8, 0.0)
    found, plain = sample(somewhere(small, weights)), sample(small)
    torch.testing.assert_close(found, sample(merged), atol=1e-4, rtol=1e-4)
    assert not torch.allclose(found, plain, atol=1e-3)


@pytest.mark.parametrize("architecture", [SD3_VARIANTS[0], QWEN_VARIANTS[0]], ids=lambda one: one.name)
def test_other_families_with_two_streams(architecture: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    model = architecture.make()
    weights = make_lora(model)
    encoded = make_settings(width=architecture.text_width).encoded
    options: dict[str, Any] = {"positive": architecture.cond(), "latent": architecture.empty()}
    core, _ = comfy.sd.load_bypass_lora_for_models(model, None, weights, 0.8, 0.0)
    expected, plain = sample(core, **options), sample(model, **options)
    monkeypatch.setattr(LiveMask, "at", lambda self, step: self.latest)
    size = options["latent"].shape
    monkeypatch.setattr(LiveMask, "latest", torch.ones(1, 1, *size[-2:]), raising=False)
    monkeypatch.setattr(LiveMask, "__init__", lambda self, place, concepts, steps: None)
    monkeypatch.setattr(LiveMask, "needs", lambda self, step: False)
    part = LoraSomewhere("style", weights, 0.8, PLACE)
    assert torch.equal(sample(add_part(model, encoded, part), **options), expected)
    assert not torch.allclose(expected, plain, atol=1e-3)


@pytest.mark.parametrize("why", ["strength 0", "no place", "absent"])
def test_the_latent_is_bit_identical_if_nothing_acts(small: Any, why: str, monkeypatch: pytest.MonkeyPatch) -> None:
    weights, place = make_lora(small), PLACE
    if why == "no place":
        place = Place(("tree",), strength=0.0)
    if why == "absent":
        monkeypatch.setattr("concept_attention.hosts.comfyui.acting.place._WINNING_SHARE", 1.0)
    model = somewhere(small, weights, 0.0 if why == "strength 0" else 0.8, place)
    assert torch.equal(sample(model, cfg=4.0), sample(small, cfg=4.0))


@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt])
def test_an_error_leaves_no_hook(small: Any, error: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    model = somewhere(small, make_lora(small))
    always(monkeypatch, HALF)
    expected = sample(model)  # loads the weights
    before = footprint(model)

    def fail(*_: Any, **__: Any) -> Any:
        raise error("on purpose")

    with monkeypatch.context() as patch:
        patch.setattr(small.model.diffusion_model.single_blocks[0], "forward", fail)
        with pytest.raises(error):
            sample(model)
    assert footprint(model) == before
    assert torch.equal(sample(model), expected)


def test_what_cannot_act_in_a_place_is_refused_before_sampling(small: Any) -> None:
    with pytest.raises(UserError, match="has no LoRA layers for this MODEL"):
        check_lora(
            LoraSomewhere("other.safetensors", {"unet.x.lora_A.weight": torch.zeros(1, 1)}, 1.0, PLACE), small.model
        )
    diff = {"diffusion_model.double_blocks.0.img_attn.proj.diff_b": torch.zeros(128)}
    with pytest.raises(UserError, match="changes 1 weights of this MODEL in a way that cannot be limited to a place"):
        check_lora(LoraSomewhere("bias", {**make_lora(small), **diff}, 1.0, PLACE), small.model)
    lumina = LUMINA_VARIANTS[0].make()
    with pytest.raises(UserError, match="LoRAs by place are not supported for"):
        check_lora(LoraSomewhere("style", {}, 1.0, PLACE), lumina.model)


def test_a_hook_lora_acts_in_a_region_s_prompt_alone(small: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """The general way: core's Create Hook LoRA on the regional CONDITIONING; core's masks are the oracle."""
    from nodes import ConditioningSetMask

    from concept_attention.hosts.comfyui.acting.prompts import Region, add_region
    from concept_attention.hosts.comfyui.acting.regions import PromptsOfRegions

    hooks = comfy.hooks.create_hook_lora(make_lora(small), 0.8, 0.0)
    base = make_cond(seed=1)
    hooked = comfy.hooks.set_hooks_for_conditioning(make_cond(seed=1), hooks)
    always(monkeypatch, HALF)
    model = add_part(small, ENCODED, PromptsOfRegions(0.5))
    positive = add_region(base, hooked, Region(PLACE, "blend", ENCODED.fingerprint()))
    set_mask = ConditioningSetMask().append
    oracle = [*set_mask(base, 1 - HALF[0], "default", 1.0)[0], *set_mask(hooked, HALF[0], "default", 1.0)[0]]
    expected = sample(small, oracle)
    assert torch.equal(sample(model, positive), expected)
    assert not torch.allclose(expected, sample(small, base), atol=1e-2)
    assert torch.equal(sample(small, base), sample(make_flux(joint_blocks=2, single_blocks=1), base))


@pytest.mark.parametrize("batch", [1, 2])
def test_concepts_are_recorded_while_a_lora_acts(small: Any, batch: int, monkeypatch: pytest.MonkeyPatch) -> None:
    always(monkeypatch, HALF.repeat(batch, 1, 1, 1))
    results: list[Any] = []
    settings = make_settings(seed=8)
    model = patch_model(somewhere(small, make_lora(small)), settings, lambda _, result: results.append(result))
    sample(model, cfg=4.0, latent=torch.zeros_like(make_latent(batch=batch)))
    recording = results[0].recording
    assert recording is not None, results[0].reason
    assert recording.metadata["steps"] == "3 of 3 steps recorded" and "troubles" not in recording.metadata
