"""Strengths that differ where a concept is, against formulas spelled out and core's own nodes."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from comfy_extras.nodes_differential_diffusion import DifferentialDiffusion
from torch import Tensor

from concept_attention.errors import UserError
from concept_attention.hosts.comfyui.acting.place import LiveMask, Place
from concept_attention.hosts.comfyui.acting.strength import StrengthSomewhere
from concept_attention.hosts.comfyui.patching import add_part

from ....support.comfyui.recording_spy import footprint
from ....support.comfyui.settings import make_settings
from ....support.comfyui.tiny import make_cond, make_flux, make_latent, sample

ENCODED = make_settings(seed=8).encoded
PLACE = Place(("tree",), start=0.0, freeze=0.0)


@pytest.fixture(scope="module")
def small() -> Any:
    return make_flux(joint_blocks=2, single_blocks=1)


@pytest.fixture
def mask(monkeypatch: pytest.MonkeyPatch) -> Tensor:
    """A mask with fractions, constant within tokens, in every step."""
    tokens = torch.rand(1, 1, 6, 4, generator=torch.Generator().manual_seed(3))
    tokens[..., :2, :], tokens[..., 4:, :] = 0.0, 1.0
    pixels = tokens.repeat_interleave(2, dim=2).repeat_interleave(2, dim=3)
    monkeypatch.setattr(LiveMask, "at", lambda self, step: pixels)
    return pixels


def scaled(model: Any, what: Any, inside: float, place: Place = PLACE) -> Any:
    return add_part(model, ENCODED, StrengthSomewhere(what, inside, place))


def test_guidance_by_place_is_the_formula(small: Any, mask: Tensor) -> None:
    """uncond + scale * (1 + (factor - 1) m) * (cond - uncond), as a guidance function of its own."""

    def guide(call: Any) -> Tensor:
        return call["uncond"] + 4.0 * (1 + (2.0 - 1) * mask) * (call["cond"] - call["uncond"])

    oracle = small.clone()
    oracle.set_model_sampler_cfg_function(guide)
    found = sample(scaled(small, "cfg", 2.0), cfg=4.0)
    torch.testing.assert_close(found, sample(oracle, cfg=4.0), atol=1e-4, rtol=1e-4)
    assert not torch.allclose(found, sample(small, cfg=4.0), atol=1e-2)


def test_without_guidance_there_is_nothing_to_scale(small: Any, mask: Tensor) -> None:
    assert torch.equal(sample(scaled(small, "cfg", 2.0), cfg=1.0), sample(small, cfg=1.0))


def test_denoise_by_place_is_core_s_noise_mask(small: Any, mask: Tensor) -> None:
    picture = make_latent(seed=9)
    factor = 1 + (0.25 - 1) * mask[0]
    found = sample(scaled(small, "denoise", 0.25), latent=picture)
    torch.testing.assert_close(found, sample(small, latent=picture, noise_mask=factor), atol=1e-5, rtol=1e-5)
    own = torch.rand(1, 12, 8, generator=torch.Generator().manual_seed(7))
    found = sample(scaled(small, "denoise", 0.25), latent=picture, noise_mask=own)
    torch.testing.assert_close(found, sample(small, latent=picture, noise_mask=own * factor), atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("first", ["Differential Diffusion", "ours"])
def test_differential_diffusion_gets_the_scaled_mask(small: Any, mask: Tensor, first: str) -> None:
    picture = make_latent(seed=9)
    differential = DifferentialDiffusion.execute(small)[0]
    expected = sample(differential, latent=picture, noise_mask=1 + (0.25 - 1) * mask[0], steps=6)
    if first == "ours":
        model = DifferentialDiffusion.execute(scaled(small, "denoise", 0.25))[0]
    else:
        model = scaled(differential, "denoise", 0.25)
    torch.testing.assert_close(sample(model, latent=picture, steps=6), expected, atol=1e-5, rtol=1e-5)


class Control:
    """A ControlNet that adds the same to every token of the image in the first joint block."""

    def __init__(self, strength: Tensor | float = 1.0) -> None:
        self.strength = strength
        self.extra_hooks = self.previous_controlnet = None
        self.multigpu_clones: dict[Any, Any] = {}

    def get_control(self, x: Tensor, *_: Any) -> Any:
        added = torch.randn(1, 1, 128, generator=torch.Generator().manual_seed(4)).expand(x.shape[0], 24, 128)
        added = added * self.strength
        return {"input": [added, None], "output": []}

    def get_models(self) -> list[Any]:
        return []

    def get_extra_hooks(self) -> list[Any]:
        return []

    def pre_run(self, *_: Any) -> None: ...

    def cleanup(self) -> None: ...

    def inference_memory_requirements(self, dtype: Any) -> int:
        return 0


@pytest.mark.parametrize("cfg", [1.0, 4.0])
def test_a_controlnet_s_strength_differs_token_by_token(small: Any, mask: Tensor, cfg: float) -> None:
    tokens = mask[0, 0, ::2, ::2].flatten()
    base = make_cond(seed=1)

    def controlled(strength: Tensor | float) -> Any:
        return [[base[0][0], {**base[0][1], "control": Control(strength), "control_apply_to_uncond": True}]]

    found = sample(scaled(small, "controlnet", 0.0), controlled(1.0), cfg=cfg)
    expected = sample(small, controlled((1 - tokens)[None, :, None]), cfg=cfg)
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-5)
    assert not torch.allclose(found, sample(small, controlled(1.0), cfg=cfg), atol=1e-2)


@pytest.mark.parametrize("what", ["cfg", "controlnet", "denoise"])
@pytest.mark.parametrize("why", ["factor 1", "no place", "absent"])
def test_the_latent_is_bit_identical_if_nothing_acts(
    small: Any, what: str, why: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    if why == "absent":
        monkeypatch.setattr("concept_attention.hosts.comfyui.acting.place._WINNING_SHARE", 1.0)
    place = Place(("tree",), strength=0.0) if why == "no place" else PLACE
    options: dict[str, Any] = {"cfg": 4.0, "latent": make_latent(seed=9)}
    model = scaled(small, what, 1.0 if why == "factor 1" else 0.5, place)
    before = footprint(model)
    assert torch.equal(sample(model, **options), sample(small, **options)) and footprint(model) == before


def test_what_cannot_be_scaled_says_why(small: Any) -> None:
    with pytest.raises(UserError, match="The factor of denoise must lie in 0 to 1, got 2"):
        StrengthSomewhere("denoise", 2.0, PLACE)
    with pytest.raises(UserError, match="this latent is empty"):
        sample(scaled(small, "denoise", 0.5))
