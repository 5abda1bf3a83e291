"""Recording any pipeline of a supported transformer: what it makes stays the same, the scores are its own."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

import diffusers
import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from concept_attention.concepts import parse_concepts
from concept_attention.errors import UserError
from concept_attention.heatmaps.heatmaps import make_heatmaps
from concept_attention.hosts.diffusers.analysis import analyze
from concept_attention.hosts.diffusers.encode import encode_concepts
from concept_attention.hosts.diffusers.generation import generate
from concept_attention.hosts.diffusers.record import record

from ...support.diffusers.families import FAMILIES
from ...support.diffusers.hooks import untouched
from ...support.diffusers.small_pipelines import PIPELINES
from ...support.diffusers.tiny_transformers import fill, seeded_noise
from ...support.diffusers.twin import twin
from ...support.numbers import naive_scores, relative_error

CONCEPTS = parse_concepts("house, tree", "sky")
CLOSE = 1e-5
Capture = Callable[[Any], list[dict[str, Any]]]


def picture(seed: int = 0) -> Image.Image:
    pixels = np.random.default_rng(seed).integers(0, 256, (6, 8, 3), dtype=np.uint8)
    return Image.fromarray(pixels).resize((64, 48), Image.Resampling.BICUBIC)


def half() -> Image.Image:
    return Image.fromarray(np.repeat(np.uint8([[0] * 32 + [255] * 32]), 48, axis=0))


def make_controlnet() -> Any:
    return fill(
        diffusers.FluxControlNetModel(
            in_channels=64,
            num_layers=1,
            num_single_layers=1,
            attention_head_dim=16,
            num_attention_heads=3,
            joint_attention_dim=128,
            pooled_projection_dim=64,
            axes_dims_rope=(4, 6, 6),
        ),
        seed=3,
    )


# Of every class: more components, more arguments, and the steps that are made of 4.
FLUX: dict[str, tuple[dict[str, Any], dict[str, Any], int]] = {
    "FluxPipeline": ({}, {"width": 64, "height": 48}, 4),
    "FluxImg2ImgPipeline": ({}, {"image": picture(), "strength": 0.5, "width": 64, "height": 48}, 2),
    "FluxInpaintPipeline": (
        {},
        {"image": picture(), "mask_image": half(), "strength": 0.75, "width": 64, "height": 48},
        3,
    ),
    "FluxKontextPipeline": (
        {},
        {"image": picture(), "width": 64, "height": 48, "max_area": 64 * 48, "_auto_resize": False},
        4,
    ),
    "FluxControlNetPipeline": (
        {"controlnet": make_controlnet},
        {"control_image": picture(1), "controlnet_conditioning_scale": 0.7, "width": 64, "height": 48},
        4,
    ),
}


def prompt(images: int = 1) -> dict[str, Any]:
    """Embeddings in place of a prompt, and no pooled text: then the twin's concepts have the image's modulation."""
    noise = seeded_noise(7)
    return {
        "prompt_embeds": noise(1, 5, 128).repeat(images, 1, 1),
        "pooled_prompt_embeds": torch.zeros(images, 64),
        "num_inference_steps": 4,
        "output_type": "latent",
    }


@pytest.mark.parametrize("name", FLUX)
def test_a_run_of_any_flux_pipeline_is_recorded_and_unchanged(name: str, schnell: Any, captured: Capture) -> None:
    parts, arguments, steps = FLUX[name]
    pipeline = getattr(diffusers, name)(**schnell.components, **{part: make() for part, make in parts.items()})
    pipeline.set_progress_bar_config(disable=True)
    encoded = encode_concepts(pipeline, CONCEPTS, max_tokens=12)
    call = {**prompt(), **arguments}
    plain = pipeline(generator=torch.Generator().manual_seed(3), **call).images
    calls = captured(pipeline.transformer)
    with record(pipeline, CONCEPTS, max_tokens=12) as recording:
        latents = pipeline(generator=torch.Generator().manual_seed(3), **call).images
    calls = calls[:]  # without the twin's
    assert torch.equal(latents, plain)
    assert len(calls) == steps
    assert (recording.grid, recording.image_size) == ((1, 3, 4), (48, 64))
    assert recording.steps == tuple(range(steps))
    assert recording.sigmas == pytest.approx([float(inputs["timestep"][0]) for inputs in calls])
    for scores, inputs in zip(recording.scores, calls, strict=True):
        expected = naive_scores(*twin(FAMILIES["Flux.1 schnell"], pipeline.transformer, inputs, encoded.embeddings))
        assert relative_error(scores, expected[..., :12]) < CLOSE
    assert not vars(pipeline.scheduler).keys() & {"step", "set_timesteps"}
    assert make_heatmaps(recording).values.shape == (1, 3, 3, 4)


def test_several_images_per_prompt_and_guidance_of_its_own(schnell: Any, captured: Capture) -> None:
    """Flux evaluates the prompt, then the negative prompt: only the first is recorded."""
    calls = captured(schnell.transformer)
    text = {"negative_prompt_embeds": seeded_noise(8)(1, 5, 128), "negative_pooled_prompt_embeds": torch.zeros(1, 64)}
    with record(schnell, CONCEPTS, max_tokens=12) as recording:
        schnell(width=64, height=48, num_images_per_prompt=2, true_cfg_scale=2.0, **text, **prompt())
    calls = calls[:]  # without the twin's
    assert (len(calls), recording.scores.shape) == (8, (4, 3, 2, 3, 12))
    embeddings = encode_concepts(schnell, CONCEPTS, max_tokens=12).embeddings
    expected = [naive_scores(*twin(FAMILIES["Flux.1 schnell"], schnell.transformer, one, embeddings)) for one in calls]
    assert relative_error(recording.scores, torch.stack(expected[::2])) < CLOSE


@pytest.mark.parametrize("guidance", [1.0, 4.0])
def test_of_guidance_in_one_batch_the_prompts_half_is_recorded(
    guidance: float, random_pipeline: Any, captured: Capture
) -> None:
    pipeline = diffusers.StableDiffusion3Img2ImgPipeline(**PIPELINES["SD3.5 medium"](random_pipeline).components)
    pipeline.set_progress_bar_config(disable=True)
    calls = captured(pipeline.transformer)
    with record(pipeline, CONCEPTS, max_tokens=24) as recording:
        pipeline(
            ["a red house", "a tree"],
            image=[picture(), picture(1)],
            strength=0.5,
            num_inference_steps=4,
            guidance_scale=guidance,
            max_sequence_length=24,
            width=64,
            height=48,
        )
    calls = calls[:]  # without the twin's
    assert [len(inputs["hidden_states"]) for inputs in calls] == [4 if guidance > 1 else 2] * 2
    assert recording.scores.shape == (2, 3, 2, 3, 12)
    assert recording.sigmas == pytest.approx([float(inputs["timestep"][0]) / 1000 for inputs in calls])
    embeddings = encode_concepts(pipeline, CONCEPTS, max_tokens=24).embeddings
    for scores, inputs in zip(recording.scores, calls, strict=True):
        expected = naive_scores(*twin(FAMILIES["SD3.5 medium"], pipeline.transformer, inputs, embeddings))
        assert relative_error(scores, expected[:, -2:]) < CLOSE


@pytest.mark.parametrize("kind", ["CogVideoX 5B", "CogVideoX 1.5", "Flux.2 dev", "Flux.2 Klein", "SD3.5 medium"])
def test_every_family_records_what_generate_records(kind: str, random_pipeline: Any) -> None:
    pipeline = PIPELINES[kind](random_pipeline)
    frames = {"num_frames": 9} if "CogVideoX" in kind else {}
    options = {"width": 64, "height": 48, "steps": 2, "max_tokens": 24, "frames": frames.get("num_frames"), "cfg": 1.0}
    expected = generate(pipeline, "a red house", CONCEPTS, seed=3, guidance=2.5, **options).recording
    with record(pipeline, CONCEPTS, max_tokens=24) as recording:
        pipeline(
            prompt="a red house",
            width=64,
            height=48,
            num_inference_steps=2,
            guidance_scale=2.5 if kind == "Flux.2 dev" else 1.0,
            max_sequence_length=24,
            generator=[torch.Generator().manual_seed(3)],
            **frames,
        )
    assert torch.equal(recording.scores, expected.scores)
    for name in ("grid", "image_size", "frame_counts", "sigmas", "steps", "layers", "mode"):
        assert getattr(recording, name) == getattr(expected, name), name


def test_only_the_first_run_of_a_block_is_recorded(schnell: Any, caplog: pytest.LogCaptureFixture) -> None:
    options = {"width": 64, "height": 48, "generator": torch.Generator().manual_seed(3), **prompt()}
    with record(schnell, CONCEPTS, max_tokens=12) as first:
        schnell(**options)
    with caplog.at_level(logging.WARNING, "concept_attention"), record(schnell, CONCEPTS, max_tokens=12) as recording:
        schnell(**{**options, "generator": torch.Generator().manual_seed(3)})
        schnell(**{**options, "width": 96})
    assert torch.equal(recording.scores, first.scores)
    assert caplog.messages == ["Only the first run in a `record` block is recorded. Enter a new block for each run."]


def test_concepts_that_are_encoded_already_need_no_text_encoder(schnell: Any) -> None:
    encoded = encode_concepts(schnell, CONCEPTS, max_tokens=12)
    parts = {**schnell.components, "text_encoder": None, "text_encoder_2": None, "tokenizer": None, "tokenizer_2": None}
    pipeline = diffusers.FluxPipeline(**parts)
    pipeline.set_progress_bar_config(disable=True)
    with record(pipeline, encoded, layers="1") as recording:
        pipeline(width=64, height=48, **prompt())
    assert (recording.layers, recording.scores.shape) == ((1,), (4, 1, 1, 3, 12))
    assert recording.metadata["pooling"] == "auto"


def test_a_block_without_a_run_says_so(schnell: Any) -> None:
    said = "^Nothing was recorded: .*Call the pipeline inside of the `with` block"
    with pytest.raises(UserError, match=said), record(schnell, CONCEPTS, max_tokens=12):
        pass
    assert untouched(schnell.transformer)


@pytest.mark.parametrize("error", [KeyboardInterrupt, RuntimeError])
def test_nothing_stays_after_an_interrupted_run(schnell: Any, error: type[BaseException]) -> None:
    def stop(*_: Any) -> None:
        raise error

    with pytest.raises(error), record(schnell, CONCEPTS, max_tokens=12):
        schnell(width=64, height=48, callback_on_step_end=stop, **prompt())
    assert untouched(schnell.transformer)
    assert not vars(schnell.scheduler).keys() & {"step", "set_timesteps"}


def test_a_subclass_is_generated_with_and_another_pipeline_is_pointed_here(schnell: Any, captured: Capture) -> None:
    class Own(diffusers.FluxPipeline):  # type: ignore[name-defined, misc]
        pass

    options: dict[str, Any] = {"width": 64, "height": 48, "steps": 1, "max_tokens": 12}
    assert generate(Own(**schnell.components), "a red house", CONCEPTS, **options).images
    calls = captured(schnell.transformer)
    with pytest.raises(UserError, match=r"FluxImg2ImgPipeline takes more than prompts.*`with record\(pipeline"):
        generate(diffusers.FluxImg2ImgPipeline(**schnell.components), "a red house", CONCEPTS, **options)
    assert not calls


def test_existing_images_are_analyzed_with_any_pipeline_of_the_transformer(schnell: Any) -> None:
    pipeline = diffusers.FluxImg2ImgPipeline(**schnell.components)
    found = [analyze(one, picture(), CONCEPTS, width=64, max_tokens=12).scores for one in (pipeline, schnell)]
    assert torch.equal(*found)


def test_a_changed_size_within_a_run_is_left_out(schnell: Any, caplog: pytest.LogCaptureFixture) -> None:
    """What another tool does between two steps."""
    from ...support.diffusers.tiny_transformers import flux_inputs

    scheduler = schnell.scheduler
    with (
        caplog.at_level(logging.WARNING, "concept_attention"),
        torch.no_grad(),
        record(schnell, CONCEPTS, max_tokens=12) as recording,
    ):
        scheduler.set_timesteps(2, mu=1.0)
        for timestep, rows in zip(scheduler.timesteps, (3, 5), strict=True):
            noise: Tensor = schnell.transformer(**flux_inputs(schnell.transformer, rows=rows))[0]
            scheduler.step(noise, timestep, noise)
    assert (recording.steps, recording.grid) == ((0,), (1, 3, 4))
    assert caplog.messages == ["1 of 2 steps recorded: the token grid changed from (1, 3, 4) to (1, 5, 4)"]
