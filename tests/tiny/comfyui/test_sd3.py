"""The embedded landscape model `tiny-sd3`, in ComfyUI against the same folder in diffusers."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from concept_attention.tiny.comfyui import sd3
from concept_attention.tiny.world.scenes import draw_scene

pytest.importorskip("diffusers")

PROMPT = "a boat on water under a sun in the sky"


@pytest.fixture(scope="module")
def parts() -> Any:
    return sd3.load_landscape_sd3()


@pytest.fixture(scope="module")
def pipeline() -> Any:
    from concept_attention.hosts.diffusers.loading import load_pipeline

    loaded = load_pipeline("tiny-sd3", device="cpu")
    loaded.set_progress_bar_config(disable=True)
    return loaded


def embedded_text(parts: Any) -> tuple[Tensor, Tensor]:
    """Tokens and the pooled vector of the prompt."""
    tokens, pooled = parts[1].encode_from_tokens(parts[1].tokenize(PROMPT), return_pooled=True)
    return tokens, pooled


def test_texts_are_encoded_alike(parts: Any, pipeline: Any) -> None:
    tokens, pooled = embedded_text(parts)
    theirs, _, theirs_pooled, _ = pipeline.encode_prompt(
        PROMPT, None, None, do_classifier_free_guidance=False, max_sequence_length=24
    )
    assert torch.allclose(tokens, theirs, atol=1e-5)
    assert torch.allclose(pooled, theirs_pooled, atol=1e-5)


def test_the_prediction_is_the_same(parts: Any, pipeline: Any) -> None:
    latents = torch.randn(1, 16, 16, 16, generator=torch.Generator().manual_seed(0))
    time, (context, pooled) = torch.tensor([600.0]), embedded_text(parts)
    with torch.no_grad():
        ours = parts[0].model.diffusion_model(latents, time, context=context, y=pooled)
        theirs = pipeline.transformer(latents, context, pooled, time, return_dict=False)[0]
    assert torch.allclose(ours, theirs, atol=1e-4)


def test_images_are_encoded_and_decoded_alike(parts: Any, pipeline: Any) -> None:
    image = torch.from_numpy(np.asarray(draw_scene(3, 128, 128).image)).float()[None] / 255
    latent = parts[2].encode(image)
    z = parts[0].model.process_latent_in(latent)
    with torch.no_grad():
        theirs = pipeline.vae.encode(image.movedim(-1, 1) * 2 - 1).latents
        decoded = pipeline.vae.decode(theirs).sample.movedim(1, -1)
    assert torch.allclose(z, theirs, atol=1e-3)
    assert torch.allclose(parts[2].decode(latent), ((decoded + 1) / 2).clamp(0, 1), atol=1e-3)


def test_the_schedule_is_the_model_s_own(parts: Any, pipeline: Any) -> None:
    pipeline.scheduler.set_timesteps(10)
    sampling = parts[0].get_model_object("model_sampling")
    noisiest = pipeline.scheduler.sigmas[0]
    assert float(sampling.sigma_max) == pytest.approx(float(noisiest), abs=1e-3)
    assert float(sampling.percent_to_sigma(0.5)) == pytest.approx(3 * 0.5 / (1 + 2 * 0.5), abs=1e-6)


def test_every_call_loads_a_model_of_its_own(parts: Any) -> None:
    other = sd3.load_model()
    assert other.model is not parts[0].model
