"""The landscape model that nobody taught, in ComfyUI: the same as in diffusers, and how right its maps are."""

from __future__ import annotations

from typing import Any

import comfy.sample
import pytest
import torch

pytest.importorskip("diffusers")

from diffusers import StableDiffusionPipeline
from safetensors.torch import load_file

from concept_attention.concepts import parse_concepts
from concept_attention.embedded import FLUX_FOLDER, SD_FOLDER, SIZES
from concept_attention.errors import UserError
from concept_attention.hosts.comfyui.encoding.encode import encode_concepts
from concept_attention.hosts.comfyui.engine.settings import Settings
from concept_attention.hosts.diffusers.loading import load_pipeline
from concept_attention.hosts.diffusers.record import record
from concept_attention.tiny.check.checking import measure_maps
from concept_attention.tiny.check.in_comfyui import InComfyUI
from concept_attention.tiny.check.in_diffusers import InDiffusers
from concept_attention.tiny.comfyui.sd import load_landscape_sd
from concept_attention.tiny.evaluation.landscapes import Prompt
from concept_attention.tiny.models.codec import CODEC, read_codec
from concept_attention.tiny.world.scenes import draw_scene

from ...support.comfyui.recording_spy import recording_of
from ...support.numbers import relative_error

PROMPT = "a boat on water under a sun in the sky"


@pytest.fixture(scope="module")
def parts() -> Any:
    return load_landscape_sd()


@pytest.fixture(scope="module")
def pipeline() -> Any:
    return StableDiffusionPipeline.from_pretrained(SD_FOLDER)


def test_texts_are_encoded_alike(parts: Any, pipeline: Any) -> None:
    _, clip, _ = parts
    for prompt in (PROMPT, ""):
        ours = clip.encode_from_tokens(clip.tokenize(prompt))
        theirs, _ = pipeline.encode_prompt(prompt, torch.device("cpu"), 1, do_classifier_free_guidance=False)
        assert ours.shape == theirs.shape and torch.allclose(ours, theirs, atol=1e-5)


def test_the_prediction_is_the_same(parts: Any, pipeline: Any) -> None:
    model, clip, _ = parts
    latents = torch.randn(2, 16, 16, 12, generator=torch.Generator().manual_seed(0))
    text = clip.encode_from_tokens(clip.tokenize(PROMPT)).expand(2, -1, -1)
    time = torch.tensor([40.0, 700.0])
    with torch.no_grad():
        ours = model.model.diffusion_model(latents, time, text)
        theirs = pipeline.unet(latents, time, text, return_dict=False)[0]
    assert torch.allclose(ours, theirs, atol=1e-4)


def test_the_schedule_and_what_is_predicted_are_the_same(parts: Any, pipeline: Any) -> None:
    sampling = parts[0].model.model_sampling
    signal = pipeline.scheduler.alphas_cumprod
    assert torch.allclose(sampling.sigmas, ((1 - signal) / signal).sqrt(), rtol=1e-4)
    assert pipeline.scheduler.config.prediction_type == "v_prediction"
    # Where the prediction is the velocity, the clean latent comes out of it.
    clean, noise = (torch.randn(1, 16, 4, 4, generator=torch.Generator().manual_seed(seed)) for seed in (0, 1))
    sigma = sampling.sigmas[500]
    velocity = pipeline.scheduler.get_velocity(clean, noise, torch.tensor([500]))
    noisy = clean + sigma * noise
    assert torch.allclose(sampling.calculate_denoised(sigma[None], velocity, noisy), clean, atol=1e-3)


@pytest.mark.parametrize("mode", ["auto", "gram"])
def test_both_hosts_make_the_same_maps(parts: Any, pipeline: Any, mode: str) -> None:
    """From the same noise: the first step of a run, with guidance."""
    model, clip, _ = parts
    pipeline.set_progress_bar_config(disable=True)
    words = parse_concepts("boat, water: water under a boat, sun, sky")
    positive, negative = (clip.encode_from_tokens_scheduled(clip.tokenize(text)) for text in (PROMPT, "snow"))
    latent = torch.zeros(1, 16, 16, 12)
    ours = recording_of(
        model,
        Settings(encode_concepts(clip, words), mode=mode),
        positive=positive,
        negative=negative,
        latent=latent,
        steps=1,
        cfg=4.0,
    )
    with record(pipeline, words, mode=mode) as theirs:
        pipeline(
            PROMPT,
            negative_prompt="snow",
            guidance_scale=4.0,
            latents=comfy.sample.prepare_noise(latent, 0),
            num_inference_steps=1,
            output_type="latent",
        )
    assert theirs.reading == ("cross" if mode == "auto" else "gram")
    assert (theirs.grid, theirs.image_size, theirs.mode) == (ours.grid, (128, 96), ours.mode)
    assert (theirs.default_layers, theirs.layer_count) == (ours.default_layers, ours.layer_count)
    assert theirs.sigmas == pytest.approx(ours.sigmas, abs=1e-3)
    assert theirs.metadata["concept_tokens"] == ours.metadata["concept_tokens"]
    assert theirs.metadata["pooling"] == ours.metadata["pooling"]
    assert relative_error(theirs.scores, ours.scores) < 1e-4


def test_both_hosts_look_at_an_existing_image_alike(parts: Any) -> None:
    """The noise is the same; on diffusers its level is that of the nearest timestep."""
    scene = draw_scene(5, 128, 128)
    ours = InComfyUI(*parts, *SIZES["tiny-sd"][0]).look(scene, 0.5)
    theirs = InDiffusers(load_pipeline("tiny-sd", device="cpu")).look(scene, 0.5)
    assert (theirs.grid, theirs.layers, theirs.steps) == (ours.grid, ours.layers, ours.steps)
    assert relative_error(theirs.scores, ours.scores) < 0.02


def test_its_latents_are_those_it_was_trained_on(parts: Any) -> None:
    model, _, vae = parts
    image = draw_scene(5, 128, 128).image
    latent = model.model.process_latent_in(vae.encode(torch.tensor(image)[None].float() / 255))
    assert torch.allclose(latent, torch.from_numpy(read_codec(SD_FOLDER / CODEC).encode(image))[None], atol=0.02)


def test_a_word_that_it_does_not_know_is_refused(parts: Any) -> None:
    with pytest.raises(UserError, match="piano"):
        encode_concepts(parts[1], parse_concepts("a piano"))


def test_on_diffusers_too_its_decoder_is_that_of_the_flux() -> None:
    own, other = (load_file(folder / "vae/diffusion_pytorch_model.safetensors") for folder in (SD_FOLDER, FLUX_FOLDER))
    assert own.keys() == other.keys() and all(torch.equal(own[name], other[name]) for name in own)


def test_the_folder_is_small() -> None:
    files = [path for path in SD_FOLDER.rglob("*") if path.is_file()]
    assert sum(path.stat().st_size for path in files) < 10e6


@pytest.mark.parametrize(
    ("mode", "prompt", "accuracy", "iou"), [("cross", "none", 0.64, 0.54), ("gram", "caption", 0.5, 0.27)]
)
def test_words_have_found_their_places_by_themselves(
    parts: Any, mode: str, prompt: Prompt, accuracy: float, iou: float
) -> None:
    """In part: bars below what was measured, see docs/landscape-model.md. `gram` needs words in the outputs."""
    maps = measure_maps(InComfyUI(*parts, *SIZES["tiny-sd"][0], mode, prompt=prompt), 24, seed=1, noise=0.5)
    assert maps.reading == mode
    assert maps.evaluation.pixel_accuracy >= accuracy and maps.evaluation.mean_iou >= iou
