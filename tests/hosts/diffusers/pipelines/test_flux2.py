"""How Flux 2's texts, images and schedule are read."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from concept_attention.concepts import parse_concepts
from concept_attention.errors import UserError
from concept_attention.hosts.diffusers.analysis import analyze
from concept_attention.hosts.diffusers.encode import encode_concepts
from concept_attention.hosts.diffusers.generation import generate
from concept_attention.hosts.diffusers.pipelines.flux2 import Flux2Family

from ....support.diffusers.small_pipelines import make_flux2_pipeline
from ....support.numbers import relative_error

CONCEPTS = parse_concepts("sky\ncar: a red car")
IMAGE = Image.fromarray(np.random.default_rng(0).integers(0, 256, (48, 64, 3), dtype=np.uint8))
SMALL: dict[str, Any] = {"width": 64, "height": 48, "max_tokens": 24}


@pytest.fixture(scope="module")
def dev(random_pipeline: Any) -> Any:
    return make_flux2_pipeline(random_pipeline)


@pytest.fixture(scope="module")
def klein(random_pipeline: Any) -> Any:
    return make_flux2_pipeline(random_pipeline, "Flux.2 Klein")


def test_a_concept_is_the_token_before_the_templates_last_one(dev: Any) -> None:
    found = encode_concepts(dev, CONCEPTS, "auto", 24)
    assert (found.pooling, found.token_counts) == ("last", (1, 3))
    with torch.no_grad():
        states, _ = dev.encode_prompt(prompt=["sky", "a red car"], max_sequence_length=24)
    assert found.embeddings.shape == (2, 96)
    torch.testing.assert_close(found.embeddings, states[:, -2], rtol=1e-5, atol=1e-5)
    first = encode_concepts(dev, CONCEPTS, "first", 24)
    torch.testing.assert_close(first.embeddings[1], states[1, -4], rtol=1e-5, atol=1e-5)


def test_klein_has_its_concepts_behind_three_tokens(klein: Any) -> None:
    found = encode_concepts(klein, CONCEPTS, "auto", 24)
    with torch.no_grad():
        states, _ = klein.encode_prompt(prompt=["sky", "a red car"], max_sequence_length=24)
    torch.testing.assert_close(found.embeddings, torch.stack([states[0, 3], states[1, 5]]), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(
    "text, message",
    [
        ("castle", r'^The text encoder does not know every word in "castle"'),
        ("red " * 30, r'^Concept "thing" is longer than the 24 tokens that fit'),
    ],
)
def test_what_cannot_be_read_is_refused(dev: Any, klein: Any, text: str, message: str) -> None:
    for pipeline in (dev, klein):
        with pytest.raises(UserError, match=message):
            encode_concepts(pipeline, parse_concepts(f"thing: {text}"), "auto", 24)
        assert not pipeline.text_encoder._forward_pre_hooks
    with pytest.raises(UserError, match=r'^The reader "clip" needs the tokens of CLIP, and Flux 2 gets none'):
        encode_concepts(dev, CONCEPTS, reader="clip")


def test_an_image_is_looked_at_in_normalised_latents_without_guidance(dev: Any, captured: Any) -> None:
    calls = captured(dev.transformer)
    analyze(dev, IMAGE, CONCEPTS, prompt="a red house", noise=0.25, **SMALL)
    (shown,) = calls
    pixels = torch.from_numpy(np.array(IMAGE)).permute(2, 0, 1)[None].float() / 127.5 - 1
    with torch.no_grad():
        latents = dev.vae.encode(pixels).latent_dist.mean  # (1, 4, 6, 8)
    packed = latents.reshape(1, 4, 3, 2, 4, 2).permute(0, 2, 4, 1, 3, 5).reshape(1, 12, 16)
    packed = (packed - 0.2) / (2.5 + dev.vae.config.batch_norm_eps) ** 0.5
    fresh = torch.randn(1, 16, 3, 4, generator=torch.Generator().manual_seed(0)).flatten(2).mT
    assert relative_error(shown["hidden_states"], 0.25 * fresh + 0.75 * packed) < 1e-5
    assert (shown["timestep"].tolist(), shown["guidance"].tolist()) == ([0.25], [0.0])
    assert shown["img_ids"][0].tolist() == [[0, row, column, 0] for row in range(3) for column in range(4)]


@pytest.mark.parametrize("side, sigma", [(2048, 0.962), (1024, 0.908)])
def test_the_schedule_is_the_models(dev: Any, side: int, sigma: float) -> None:
    assert Flux2Family().schedule_sigma(dev, 4, 2, (side // 16) ** 2) == pytest.approx(sigma, abs=1e-3)


def test_guidance_that_a_model_does_not_have_is_refused(dev: Any, random_pipeline: Any) -> None:
    distilled = make_flux2_pipeline(random_pipeline, "Flux.2 Klein", distilled=True)
    for pipeline in (dev, distilled):
        with pytest.raises(UserError, match=r"^This model has no classifier-free guidance, got 2\."):
            generate(pipeline, "a house", CONCEPTS, cfg=2, steps=1, **SMALL)
        with pytest.raises(UserError, match=r"take no negative prompt"):
            generate(pipeline, "a house", CONCEPTS, negative_prompt="water", steps=1, **SMALL)


def test_defaults_follow_the_model(dev: Any, klein: Any, random_pipeline: Any) -> None:
    distilled = make_flux2_pipeline(random_pipeline, "Flux.2 Klein", distilled=True)
    found = [Flux2Family().defaults(one) for one in (dev, klein, distilled)]
    assert [(one.steps, one.guidance, one.cfg) for one in found] == [(28, 4.0, 1.0), (50, 0.0, 4.0), (4, 0.0, 1.0)]
