"""Every architecture is trained on what its pipeline will show it."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch

from concept_attention.hosts.diffusers.pipelines.request import Request
from concept_attention.hosts.diffusers.registry import family_of
from concept_attention.tiny.models.codec import fit_codec
from concept_attention.tiny.models.texts import TEXT_TOKENS, clip_row, t5_row, token_table, word_ids
from concept_attention.tiny.training.families import FAMILIES
from concept_attention.tiny.training.family import Family
from concept_attention.tiny.training.pool import COARSE, FINE
from concept_attention.tiny.world.scenes import draw_scene

PROMPT, SIGMA = "a red house, grass", 0.4


@pytest.fixture(scope="module", params=[name for name, family in FAMILIES.items() if family.map_layers])
def made(request: pytest.FixtureRequest) -> tuple[Family, Any, Any]:
    """A family that the library records, new parts of it, and the pipeline they make."""
    family = FAMILIES[request.param]
    torch.manual_seed(0)
    parts = family.build()
    for module in parts.modules().values():
        module.eval()
    codec = fit_codec(np.stack([draw_scene(seed, 64, 64).image for seed in range(4)]))
    return family, parts, family.pipeline(parts, codec)


def _velocity(family: Family, parts: Any, prompt: str, chance: float) -> torch.Tensor:
    ids = word_ids(prompt, token_table())
    t5, clip = (torch.tensor([row(ids, TEXT_TOKENS)]) for row in (t5_row, clip_row))
    return family.velocity(parts, _noisy(family), torch.tensor([SIGMA]), t5, clip, torch.tensor([[chance]]))


def _noisy(family: Family) -> torch.Tensor:
    frames = (3,) if family.clips else ()
    return torch.randn(1, *frames, 16, 4, 6, generator=torch.Generator().manual_seed(1))


@torch.no_grad()
def test_training_shows_the_model_what_analysis_shows_it(made: tuple[Family, Any, Any]) -> None:
    family, parts, pipeline = made
    host = family_of(pipeline)
    latents = host.encode_images(pipeline, torch.zeros(3 if family.clips else 1, 3, 32, 48))
    # Flux is shown images without a pooled vector, which it gets in training where the number is above a half.
    for prompt, chance in ((PROMPT, 0.6), ("", 0.6)):
        request = Request("", 48, 32, 3 if family.clips else 1, guidance=0.0, cfg=1.0)
        inputs = host.conditions(pipeline, prompt, latents, request, SIGMA, TEXT_TOKENS)
        noisy = _packed(_noisy(family)) if family is FAMILIES["flux"] else _noisy(family)
        theirs = pipeline.transformer(hidden_states=noisy, return_dict=False, **inputs)[0]
        ours = _velocity(family, parts, prompt, chance)
        torch.testing.assert_close(ours, family.unpack(theirs, 2), atol=2e-5, rtol=1e-4)


@torch.no_grad()
def test_training_mixes_and_aims_as_sampling_does(made: tuple[Family, Any, Any]) -> None:
    family, _, pipeline = made
    host, process = family_of(pipeline), family.process
    latents, noise = (torch.randn(2, 3, 4, generator=torch.Generator().manual_seed(seed)) for seed in (0, 1))
    sigma = torch.tensor(SIGMA)
    noisy = process.mix(latents, noise, sigma)
    torch.testing.assert_close(noisy, host.noised(pipeline, latents, noise, SIGMA))
    # What a scheduler makes of a right prediction is the latents.
    target = process.target(latents, noise, sigma)
    if family is FAMILIES["cogvideox"]:
        assert pipeline.scheduler.config.prediction_type == "v_prediction"
        signal = (1 - sigma**2).sqrt()
        torch.testing.assert_close(signal * noisy - sigma * target, latents)
    else:
        torch.testing.assert_close(noisy - sigma * target, latents)
    level, one, nothing = process.level(torch.tensor(1.0)), torch.ones(()), torch.zeros(())
    stronger = process.mix(nothing, one, level) / process.mix(one, nothing, level)
    assert float(stronger) == pytest.approx(math.e, rel=1e-5)


@pytest.mark.parametrize("name", ["sd3", "cogvideox"])
@torch.no_grad()
def test_a_quarter_has_no_prompt_where_nothing_else_says_nothing(name: str) -> None:
    family = FAMILIES[name]
    torch.manual_seed(0)
    parts = family.build()
    with_prompt, without = (_velocity(family, parts, PROMPT, chance) for chance in (0.74, 0.76))
    torch.testing.assert_close(without, _velocity(family, parts, "", 0.5))
    assert not torch.allclose(with_prompt, without, atol=1e-4)


def test_a_run_goes_through_its_stages() -> None:
    flux, sd3 = FAMILIES["flux"], FAMILIES["sd3"]
    assert [flux.stage(done).sizes for done in (0.0, 0.44, 0.46, 1.0)] == [COARSE, COARSE, FINE, FINE]
    assert flux.stage(0.0, continued=True).sizes == FINE
    assert {sd3.stage(done, continued).sizes for done in (0.0, 0.9) for continued in (False, True)} == {COARSE}
    assert [FAMILIES["cogvideox"].stage(done).frames for done in (0.0, 0.29, 0.31, 1.0)] == [1, 1, 9, 9]
    assert FAMILIES["cogvideox"].stage(0.0, continued=True).frames == 9


@torch.no_grad()
def test_an_image_is_a_clip_of_one_frame() -> None:
    family = FAMILIES["cogvideox"]
    torch.manual_seed(0)
    parts = family.build()
    image = _noisy(FAMILIES["flux"])
    t5 = torch.tensor([t5_row([5, 6], TEXT_TOKENS)])
    given = torch.tensor([SIGMA]), t5, t5, torch.tensor([[0.1]])
    torch.testing.assert_close(
        family.velocity(parts, image, *given), family.velocity(parts, image[:, None], *given)[:, 0]
    )


def _packed(latents: torch.Tensor) -> torch.Tensor:
    """(1, 16, 4, 6) to tokens (1, 6, 64), one by one."""
    tokens = [latents[0, :, row : row + 2, column : column + 2] for row in (0, 2) for column in (0, 2, 4)]
    return torch.stack([token.reshape(-1) for token in tokens])[None]
