"""The embedded landscape model in ComfyUI against the same folder in diffusers, part by part and as a whole."""

from __future__ import annotations

import logging
from typing import Any

import comfy.sample
import comfy.samplers
import comfy.sd
import pytest
import torch
from torch import Tensor

from concept_attention.concepts import Concept, parse_concepts
from concept_attention.embedded import FLUX_FOLDER
from concept_attention.hosts.comfyui.encoding.encode import encode_concepts
from concept_attention.tiny.comfyui.loader import load_landscape, load_model
from concept_attention.tiny.models.codec import CODEC, read_codec
from concept_attention.tiny.models.flux import SHIFT
from concept_attention.tiny.world.scenes import draw_scene

pytest.importorskip("diffusers")

PROMPT = "a mountain and a boat on water under a sun in the sky"
WIDTH, HEIGHT = 192, 128


@pytest.fixture(scope="module")
def parts() -> Any:
    return load_landscape()


@pytest.fixture(scope="module")
def pipeline() -> Any:
    from concept_attention.hosts.diffusers.loading import load_pipeline

    loaded = load_pipeline("tiny", device="cpu")
    loaded.set_progress_bar_config(disable=True)
    return loaded


@pytest.fixture(scope="module")
def scenes() -> Tensor:
    """Two images (2, H, W, 3), 0-1."""
    drawn = [draw_scene(seed, WIDTH, HEIGHT).image for seed in (1, 2)]
    return torch.stack([torch.tensor(image) for image in drawn]).float() / 255


def conditioning(clip: Any, text: str) -> Any:
    return clip.encode_from_tokens_scheduled(clip.tokenize(text))


def packed(latent: Tensor) -> Tensor:
    """(B, 16, H, W) to diffusers' tokens (B, HW/4, 64)."""
    batch, channels, rows, columns = latent.shape
    tiles = latent.reshape(batch, channels, rows // 2, 2, columns // 2, 2)
    return torch.einsum("bchywx->bhwcyx", tiles).reshape(batch, rows * columns // 4, channels * 4)


@pytest.mark.parametrize("text", ["", "sky", PROMPT, "A red house , WHITE snow", "a boat " * 10])
def test_texts_are_encoded_alike(parts: Any, pipeline: Any, text: str) -> None:
    (states, extra), *_ = conditioning(parts[1], text)
    with torch.no_grad():
        expected, pooled, _ = pipeline.encode_prompt(text, text, max_sequence_length=24)
    assert states.dtype == torch.float32
    torch.testing.assert_close(states, expected, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(extra["pooled_output"], pooled, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("pooling", ["auto", "first", "last"])
def test_concepts_are_encoded_alike(parts: Any, pipeline: Any, pooling: Any) -> None:
    from concept_attention.hosts.diffusers.encode import encode_concepts as by_diffusers

    concepts = parse_concepts("boat\ncar: a red car\nthe night sky")
    found, expected = encode_concepts(parts[1], concepts, pooling), by_diffusers(pipeline, concepts, pooling, 24)
    assert found.token_counts == expected.token_counts == (1, 3, 3)
    torch.testing.assert_close(found.embeddings, expected.embeddings, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("sigma", [1.0, 0.6, 0.05])
def test_the_velocity_is_the_same(parts: Any, pipeline: Any, sigma: float) -> None:
    generator = torch.Generator().manual_seed(3)
    latent = torch.randn(2, 16, HEIGHT // 8, WIDTH // 8, generator=generator)
    (text, extra), *_ = conditioning(parts[1], PROMPT)
    text, pooled, time = text.repeat(2, 1, 1), extra["pooled_output"].repeat(2, 1), torch.full((2,), sigma)
    rows, columns = HEIGHT // 16, WIDTH // 16
    places = [(0, row, column) for row in range(rows) for column in range(columns)]
    with torch.no_grad():
        found = parts[0].model.diffusion_model(latent, time, text, pooled)
        expected = pipeline.transformer(
            hidden_states=packed(latent),
            timestep=time,
            encoder_hidden_states=text,
            pooled_projections=pooled,
            img_ids=torch.tensor(places, dtype=torch.float32),
            txt_ids=torch.zeros(text.shape[1], 3),
            return_dict=False,
        )[0]
    assert float((packed(found) - expected).norm() / expected.norm()) < 1e-5


def test_images_are_encoded_alike(parts: Any, pipeline: Any, scenes: Tensor) -> None:
    with torch.no_grad():
        expected = pipeline.vae.encode(scenes.movedim(-1, 1) * 2 - 1).latents
    found = parts[0].model.process_latent_in(parts[2].encode(scenes))
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4)


def test_latents_are_decoded_alike(parts: Any, pipeline: Any, scenes: Tensor) -> None:
    with torch.no_grad():
        own = pipeline.vae.encode(scenes.movedim(-1, 1) * 2 - 1).latents
        expected = (pipeline.vae.decode(own).sample / 2 + 0.5).clamp(0, 1).movedim(1, -1)
    found = parts[2].decode(parts[0].model.process_latent_out(own))
    assert found.shape == (2, HEIGHT, WIDTH, 3)
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4)
    assert float((found - scenes).abs().mean()) < 0.02


def by_diffusers(pipeline: Any, noise: Tensor, steps: int) -> Tensor:
    """Diffusers' image of the prompt (1, H, W, 3), 0-1, without noise of the scheduler's own."""
    config = pipeline.scheduler.config
    pipeline.scheduler = type(pipeline.scheduler).from_config(config, stochastic_sampling=False)
    image = pipeline(
        PROMPT,
        negative_prompt="",
        true_cfg_scale=4.0,
        width=WIDTH,
        height=HEIGHT,
        num_inference_steps=steps,
        guidance_scale=0.0,
        latents=packed(noise),
        max_sequence_length=24,
        output_type="pt",
    ).images
    return image.movedim(1, -1)


def test_an_image_from_the_same_noise_is_the_same_image(parts: Any, pipeline: Any) -> None:
    """The schedule, the guidance, the latents' scale: everything between the parts."""
    model, clip, vae = parts
    empty = torch.zeros(1, 16, HEIGHT // 8, WIDTH // 8)
    noise = comfy.sample.prepare_noise(empty, 21)
    expected = by_diffusers(pipeline, noise, 28)
    prompts = conditioning(clip, PROMPT), conditioning(clip, "")
    sampler, sigmas = comfy.samplers.sampler_object("euler"), pipeline.scheduler.sigmas
    latent = comfy.sample.sample_custom(model, noise, 4.0, sampler, sigmas, *prompts, empty, disable_pbar=True)
    assert float((vae.decode(latent) - expected).abs().max()) < 0.002  # half a step of 8 bits

    # What a KSampler does has the same sigmas but for ComfyUI's table of 1000.
    own = comfy.samplers.calculate_sigmas(model.get_model_object("model_sampling"), "simple", 28)
    torch.testing.assert_close(own, sigmas, rtol=0, atol=0.003)
    latent = comfy.sample.sample(model, noise, 28, 4.0, "euler", "simple", *prompts, empty, disable_pbar=True)
    assert float((vae.decode(latent) - expected).abs().mean()) < 0.02


def test_a_prompt_longer_than_the_padding_is_read_whole(parts: Any) -> None:
    states = conditioning(parts[1], "a boat and a sun , " * 6)[0][0]
    assert states.shape == (1, 37, 128)


def test_weights_in_a_prompt_are_weights(parts: Any) -> None:
    plain, weighted = conditioning(parts[1], "a boat"), conditioning(parts[1], "a (boat:1.4)")
    assert plain[0][0].shape == weighted[0][0].shape
    assert not torch.equal(plain[0][0], weighted[0][0])


def test_unknown_words_of_a_prompt_are_warned_of(parts: Any, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING, logger="concept_attention"):
        parts[1].tokenize("a (boat:1.2) on water")
        assert not caplog.records
        parts[1].tokenize("a castle on grass")
    (record,) = caplog.records
    assert record.getMessage().startswith(
        'The model does not know every word in "a castle on grass". It knows: a, an, and, at, balloon,'
    )


def test_unknown_concepts_are_refused_with_the_words_that_are_known(parts: Any) -> None:
    expected = '^Concept "fort": The text encoder does not know every word in "a castle".*boat'
    with pytest.raises(ValueError, match=expected):
        encode_concepts(parts[1], [Concept("sky", "sky"), Concept("fort", "a castle")])


def test_loading_says_nothing(caplog: pytest.LogCaptureFixture) -> None:
    """Missing or left-over weights would be warnings of ComfyUI."""
    with caplog.at_level(logging.WARNING):
        load_landscape()
    assert [record.getMessage() for record in caplog.records] == []


def test_previews_have_the_images_colours(parts: Any) -> None:
    """The preview of a latent is the codec's image, each latent pixel in its mean colour."""
    codec, latents = read_codec(FLUX_FOLDER / CODEC), parts[0].model.latent_format
    scene = draw_scene(4, WIDTH, HEIGHT).image
    own = torch.from_numpy(codec.encode(scene[None]))
    factors, bias = torch.tensor(latents.latent_rgb_factors), torch.tensor(latents.latent_rgb_factors_bias)
    found = (torch.einsum("bchw,cr->bhwr", own, factors) + bias)[0]
    cells = torch.tensor(scene).float().reshape(HEIGHT // 8, 8, WIDTH // 8, 8, 3).mean((1, 3)) / 127.5 - 1
    assert float((found - cells).abs().mean()) < 0.02


def test_the_model_can_be_copied_as_core_does_for_compilation(parts: Any) -> None:
    make, arguments = parts[0].cached_patcher_init
    copy = make(*arguments, disable_dynamic=True)
    assert copy.model.model_sampling.shift == parts[0].model.model_sampling.shift == SHIFT
    first, other = parts[0].model.state_dict(), copy.model.state_dict()
    assert first.keys() == other.keys() and all(torch.equal(first[name], other[name]) for name in first)


def test_every_call_loads_a_model_of_its_own() -> None:
    one, other = load_model(), load_model()
    assert one.model is not other.model


def test_the_transformer_also_loads_with_the_stock_loader(parts: Any) -> None:
    path = FLUX_FOLDER / "transformer" / "diffusion_pytorch_model.safetensors"
    stock = comfy.sd.load_diffusion_model(str(path), model_options={"dtype": torch.float32})
    assert type(stock.model) is type(parts[0].model)
    weights, own = stock.model.diffusion_model.state_dict(), parts[0].model.diffusion_model.state_dict()
    assert weights.keys() == own.keys() and all(torch.equal(weights[name], own[name]) for name in own)
    assert stock.model.latent_format.scale_factor == parts[0].model.latent_format.scale_factor
