"""The Flux 2 adapter, beside its tiny models: full sizes, the position of concepts, reference images."""

from __future__ import annotations

import types
from dataclasses import replace
from typing import Any

import pytest
import torch

from concept_attention.hosts.comfyui.adapters.flux2 import DEV_POSITION, KLEIN_POSITION, Flux2
from concept_attention.hosts.comfyui.engine.settings import Settings

from ....support.comfyui.architectures.flux2 import VARIANTS
from ....support.comfyui.architectures.oracle import recorded_and_expected
from ....support.comfyui.architectures.tiny_architecture import TinyArchitecture
from ....support.comfyui.encoders import clip_of, first_word
from ....support.comfyui.recording_spy import make_encoded, recording_of
from ....support.comfyui.tiny import make_flux
from ....support.numbers import relative_error

CLOSE = 1e-5
DEV, KLEIN = VARIANTS


def with_references(tiny: TinyArchitecture, method: str) -> TinyArchitecture:
    """The tiny model with two reference images of other sizes in every prompt."""
    images = [torch.randn(1, 128, *size, generator=torch.Generator().manual_seed(4)) for size in ((4, 6), (3, 2))]
    said = {"reference_latents": images, "reference_latents_method": method}
    return replace(tiny, extra={name: lambda *_, value=value: value for name, value in said.items()})


def options_of(tiny: TinyArchitecture, batch: int = 1, tokens: int = 7) -> dict[str, Any]:
    return {"positive": tiny.cond(tokens), "latent": tiny.empty(batch), "steps": 2}


@pytest.mark.parametrize(
    "count, guidance, layers, position",
    [(8, True, (5, 6, 7), 510), (8, False, (5, 6, 7), 3), (5, False, (3, 4), 3)],
    ids=["dev", "Klein 9B", "Klein 4B"],
)
def test_default_layers_of_the_full_sizes(count: int, guidance: bool, layers: tuple[int, ...], position: int) -> None:
    """Of dev the authors'; of Klein as large a share."""
    network = types.SimpleNamespace(
        double_blocks=range(count),
        single_blocks=range(20),
        patch_size=1,
        params=types.SimpleNamespace(context_in_dim=15360, guidance_embed=guidance),
    )
    found = Flux2().describe(types.SimpleNamespace(diffusion_model=network))
    assert (found.default_layers, found.concept_position) == (layers, position)


def test_flux_1_is_not_matched() -> None:
    assert not Flux2().matches(make_flux().model)


def test_kleins_concepts_have_the_position_of_a_prompt_of_one_word() -> None:
    assert first_word(clip_of("Flux.2 Klein 4B")) == KLEIN_POSITION


def test_devs_concepts_have_the_position_of_a_prompts_last_word() -> None:
    """The host pads at the left to 512 tokens; the template ends with one token more, `[/INST]`."""
    text = DEV.cond()[0][0]
    padded = DEV.make().model.extra_conds(cross_attn=text, noise=DEV.empty(), device=text.device)["c_crossattn"].cond
    assert torch.equal(padded[:, DEV_POSITION], text[:, -2])


@pytest.mark.parametrize("tokens", [7, 520])
def test_concepts_stay_in_their_place_however_long_the_prompt_is(tokens: int) -> None:
    recording, expected = recorded_and_expected(
        DEV, DEV.make(), Settings(make_encoded()), **options_of(DEV, tokens=tokens)
    )
    assert relative_error(recording.scores, expected) < CLOSE


@pytest.mark.parametrize("method", ["index", "index_timestep_zero"])
def test_concepts_see_reference_images_that_are_not_mapped(method: str) -> None:
    """Also where these have a modulation of their own, as if they were free of noise."""
    tiny, model = with_references(KLEIN, method), KLEIN.make()
    recording, expected = recorded_and_expected(tiny, model, Settings(make_encoded()), **options_of(tiny, batch=2))
    assert recording.scores.shape[-1] == 24
    assert relative_error(recording.scores, expected) < CLOSE
    without = recording_of(model, **options_of(KLEIN, batch=2))
    assert relative_error(recording.scores, without.scores) > 100 * CLOSE


def test_shares_are_those_of_the_authors_mode() -> None:
    assert recording_of(DEV.make(), **options_of(DEV)).mode == "flux2"
