"""Generating: the images are those of the pipeline alone, the recording is that of its conditional evaluations."""

from __future__ import annotations

import logging
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from concept_attention.concepts import parse_concepts
from concept_attention.errors import UserError
from concept_attention.heatmaps.heatmaps import make_heatmaps
from concept_attention.hosts.diffusers.generation import generate

from ...support.diffusers.hooks import untouched
from ...support.diffusers.naive_flux import naive_flux
from ...support.diffusers.tiny_transformers import make_flux
from ...support.numbers import naive_scores, relative_error
from ...support.threads import in_a_thread

CONCEPTS = parse_concepts("house, tree", "sky")
PROMPTS = ["a red house", "a tree and the moon"]
SMALL = {"width": 64, "height": 48, "steps": 2, "max_tokens": 12}
CLOSE = 1e-5


@pytest.fixture
def latents(random_pipeline: Any, monkeypatch: pytest.MonkeyPatch) -> list[Tensor]:
    """Latents of every image that is decoded."""
    kept: list[Tensor] = []
    decode = random_pipeline.vae.decode

    def keeping(latents: Tensor, *args: Any, **kwargs: Any) -> Any:
        kept.append(latents.clone())
        return decode(latents, *args, **kwargs)

    monkeypatch.setattr(random_pipeline.vae, "decode", keeping)
    return kept


@pytest.mark.parametrize("width, height", [(64, 64), (96, 64)], ids=["square", "3:2"])
@pytest.mark.parametrize("cfg", [1.0, 2.5])
@pytest.mark.parametrize("batch", [1, 2])
def test_images_are_bit_identical_with_and_without_concepts(
    pipeline: Any, latents: list[Tensor], batch: int, cfg: float, width: int, height: int
) -> None:
    prompts = PROMPTS[:batch]
    plain = pipeline(
        prompts,
        negative_prompt=["water"] * batch,
        true_cfg_scale=cfg,
        width=width,
        height=height,
        num_inference_steps=2,
        guidance_scale=2.5,
        generator=[torch.Generator().manual_seed(7 + image) for image in range(batch)],
        max_sequence_length=12,
    ).images
    found = generate(
        pipeline,
        prompts,
        CONCEPTS,
        negative_prompt="water",
        cfg=cfg,
        width=width,
        height=height,
        steps=2,
        guidance=2.5,
        seed=7,
        max_tokens=12,
    )
    assert latents[0].shape == (batch, 16, height // 8, width // 8)
    assert latents[0].std() > 0.1
    assert torch.equal(latents[1], latents[0])
    assert [np.array_equal(ours, theirs) for ours, theirs in zip(found.images, plain, strict=True)] == [True] * batch
    assert found.recording.grid == (1, height // 16, width // 16)
    assert found.recording.image_size == (height, width)
    assert found.recording.scores.shape == (2, 3, batch, 3, height * width // 256)
    assert untouched(pipeline.transformer)


def test_noise_that_the_scheduler_draws_is_seeded(
    schnell: Any, latents: list[Tensor], monkeypatch: pytest.MonkeyPatch
) -> None:
    config = schnell.scheduler.config
    monkeypatch.setattr(schnell, "scheduler", type(schnell.scheduler).from_config(config, stochastic_sampling=True))
    torch.manual_seed(11)
    untouched = torch.get_rng_state()
    for seed in (3, 3, 4):
        generate(schnell, PROMPTS[0], CONCEPTS, seed=seed, **SMALL)
    assert torch.equal(torch.get_rng_state(), untouched)
    torch.manual_seed(3)
    schnell(
        PROMPTS[0],
        width=64,
        height=48,
        num_inference_steps=2,
        guidance_scale=0.0,
        generator=torch.Generator().manual_seed(3),
        max_sequence_length=12,
    )
    first, again, other, plain = latents
    assert torch.equal(first, again) and torch.equal(first, plain)
    assert not torch.equal(first, other)


def test_runs_in_two_threads_draw_the_noise_that_they_draw_alone(schnell: Any, latents: list[Tensor]) -> None:
    """One runs between the steps of the other, with a pipeline of its own around the same transformer's twin."""
    config = schnell.scheduler.config

    def own() -> Any:
        scheduler = type(schnell.scheduler).from_config(config, stochastic_sampling=True)
        return type(schnell)(**{**schnell.components, "scheduler": scheduler, "transformer": make_flux()})

    def inner(*step: int) -> None:
        in_a_thread(lambda: generate(own(), PROMPTS[1], CONCEPTS, seed=4, **SMALL))

    outer = generate(own(), PROMPTS[0], CONCEPTS, seed=3, **SMALL)
    inner()
    together = generate(own(), PROMPTS[0], CONCEPTS, seed=3, on_step=inner, **SMALL)
    alone, other, *others, found = latents
    assert torch.equal(found, alone) and torch.equal(together.recording.scores, outer.recording.scores)
    assert len(others) == 2 and all(torch.equal(one, other) for one in others)


@pytest.mark.parametrize("cfg", [1.0, 2.5])
def test_the_recording_is_that_of_the_conditional_evaluations(pipeline: Any, captured: Any, cfg: float) -> None:
    calls = captured(pipeline.transformer)
    found = generate(pipeline, PROMPTS, CONCEPTS, negative_prompt="water", cfg=cfg, guidance=3.0, **SMALL).recording
    per_step = 2 if cfg > 1 else 1
    assert len(calls) == 2 * per_step
    with torch.no_grad():
        ids = pipeline.tokenizer_2(
            ["house", "tree", "sky"], padding="max_length", max_length=12, return_tensors="pt"
        ).input_ids
        embeddings = pipeline.text_encoder_2(ids)[0][:, 0]
    twins = [naive_scores(*naive_flux(pipeline.transformer, inputs, embeddings)) for inputs in calls[::per_step]]
    assert relative_error(found.scores, torch.stack(twins)) < CLOSE
    assert (found.steps, found.sigmas) == ((0, 1), (1.0, 0.5))
    assert [float(inputs["timestep"][0]) for inputs in calls[::per_step]] == pytest.approx(found.sigmas)
    shares = make_heatmaps(found).values
    assert (shares.sum(1) - 1).abs().max() < 1e-6
    if cfg > 1:  # the other evaluation would have been another recording
        others = naive_scores(*naive_flux(pipeline.transformer, calls[1], embeddings))
        assert relative_error(found.scores[0], others) > 100 * CLOSE


@pytest.mark.parametrize("cfg", [1.0, 2.5])
def test_each_image_may_have_its_own_negative_prompt(schnell: Any, latents: list[Tensor], cfg: float) -> None:
    negatives = ["water", "a house"]
    both = generate(schnell, PROMPTS, CONCEPTS, negative_prompt=negatives, cfg=cfg, seed=3, **SMALL)
    for image, (prompt, negative) in enumerate(zip(PROMPTS, negatives, strict=True)):
        single = generate(schnell, prompt, CONCEPTS, negative_prompt=negative, cfg=cfg, seed=3 + image, **SMALL)
        assert relative_error(single.recording.scores[:, :, 0], both.recording.scores[:, :, image]) < CLOSE
        assert relative_error(latents[-1][0], latents[0][image]) < CLOSE


def test_a_list_of_one_negative_prompt_is_that_of_one_image(schnell: Any, latents: list[Tensor]) -> None:
    for negative in ("water", ["water"]):
        generate(schnell, PROMPTS[0], CONCEPTS, negative_prompt=negative, cfg=2.5, **SMALL)
    generate(schnell, PROMPTS[0], CONCEPTS, negative_prompt="sky", cfg=2.5, **SMALL)
    assert torch.equal(latents[0], latents[1]) and not torch.equal(latents[0], latents[2])


def test_concepts_and_layers_may_be_given_as_they_are_written(schnell: Any) -> None:
    parsed = generate(schnell, PROMPTS[0], parse_concepts("house, sky"), layers="2", **SMALL).recording
    for concepts in (["house", "sky"], "house, sky"):
        written = generate(schnell, PROMPTS[0], concepts, layers=2, **SMALL).recording
        assert written.concepts == parsed.concepts and written.layers == (2,)
        assert torch.equal(written.scores, parsed.scores)


def test_a_subclass_of_a_pipeline_is_run_like_it(random_pipeline: Any) -> None:
    class MyPipeline(type(random_pipeline)):  # type: ignore[misc]
        pass

    mine = MyPipeline(**random_pipeline.components)
    mine.set_progress_bar_config(disable=True)
    found, expected = (generate(one, PROMPTS[0], CONCEPTS, **SMALL) for one in (mine, random_pipeline))
    assert torch.equal(found.recording.scores, expected.recording.scores)


@pytest.mark.parametrize("size", [(64, 48), (144, 80)])
def test_kontext_makes_an_image_of_the_size_asked_for(
    pipeline: Any, latents: list[Tensor], size: tuple[int, int]
) -> None:
    """Without an image it is Flux, whose latents it must have."""
    from diffusers import FluxKontextPipeline

    kontext = FluxKontextPipeline(**pipeline.components)
    kontext.set_progress_bar_config(disable=True)
    options = {**SMALL, "width": size[0], "height": size[1], "guidance": 2.5, "cfg": 2.0, "negative_prompt": "water"}
    found, expected = (generate(one, PROMPTS, CONCEPTS, **options) for one in (kontext, pipeline))
    assert found.images[0].size == size and torch.equal(*latents)
    assert torch.equal(found.recording.scores, expected.recording.scores)


@pytest.mark.parametrize("part", ["vae", "text_encoder", "text_encoder_2", "tokenizer_2", "scheduler"])
def test_a_pipeline_that_lacks_a_part_is_refused(schnell: Any, part: str) -> None:
    lacking = type(schnell)(**{**schnell.components, part: None})
    with pytest.raises(UserError, match=rf"^This FluxPipeline has no {part}: it was loaded without\. Load it with all"):
        generate(lacking, PROMPTS[0], CONCEPTS, **SMALL)


def test_a_batch_equals_single_runs(schnell: Any, latents: list[Tensor]) -> None:
    batch = generate(schnell, PROMPTS, CONCEPTS, seed=3, **SMALL).recording
    for image, prompt in enumerate(PROMPTS):
        single = generate(schnell, prompt, CONCEPTS, seed=3 + image, **SMALL).recording
        assert relative_error(single.scores[:, :, 0], batch.scores[:, :, image]) < CLOSE
        assert relative_error(latents[-1][0], latents[0][image]) < CLOSE
    assert relative_error(batch.scores[:, :, 0], batch.scores[:, :, 1]) > 0.01


def test_layers_mode_and_dtype_reach_the_recording(schnell: Any) -> None:
    full = generate(schnell, PROMPTS[0], CONCEPTS, **SMALL).recording
    some = generate(schnell, PROMPTS[0], CONCEPTS, layers="0,2", **SMALL).recording
    assert some.layers == (0, 2)
    assert torch.equal(some.scores, full.scores[:, [0, 2]])
    half = generate(schnell, PROMPTS[0], CONCEPTS, dtype=torch.float16, **SMALL).recording
    assert half.scores.dtype == torch.float16 and relative_error(half.at().scores, full.scores) < 1e-3
    named = generate(schnell, PROMPTS[0], CONCEPTS, dtype="float16", **SMALL).recording
    assert torch.equal(named.scores, half.scores)
    assert generate(schnell, PROMPTS[0], CONCEPTS, mode="paper", **SMALL).recording.mode == "paper"


def test_pooling_and_seed_reach_the_run(schnell: Any) -> None:
    concepts = parse_concepts("a red house\nsky")
    options: list[dict[str, Any]] = [{}, {"pooling": "first"}, {"seed": 1}]
    plain, first, seeded = (generate(schnell, PROMPTS[0], concepts, **SMALL, **o).recording for o in options)
    assert relative_error(first.scores, plain.scores) > 0.01
    assert relative_error(seeded.scores, plain.scores) > 0.01
    assert (first.metadata["pooling"], seeded.metadata["seed"]) == ("first", "1")
    assert plain.metadata["prompt"] == PROMPTS[0]


def test_progress_is_told_after_every_step(schnell: Any) -> None:
    steps: list[tuple[int, int]] = []
    generate(schnell, PROMPTS[0], CONCEPTS, on_step=lambda *step: steps.append(step), **SMALL)
    assert steps == [(1, 2), (2, 2)]


@pytest.mark.parametrize("error", [KeyboardInterrupt, RuntimeError])
def test_nothing_stays_on_the_model_after_an_interrupted_run(
    schnell: Any, error: type[BaseException], latents: list[Tensor]
) -> None:
    def stop(*step: int) -> None:
        raise error

    before = generate(schnell, PROMPTS[0], CONCEPTS, **SMALL)
    with pytest.raises(error):
        generate(schnell, PROMPTS[0], CONCEPTS, on_step=stop, **SMALL)
    assert untouched(schnell.transformer)
    after = generate(schnell, PROMPTS[0], CONCEPTS, **SMALL)
    assert torch.equal(*latents)
    assert torch.equal(before.recording.scores, after.recording.scores)


@pytest.mark.parametrize(
    "options, message",
    [
        ({"width": 72}, r"^Width must be a positive multiple of 16, got 72\. Try 64\.$"),
        ({"height": 8}, r"^Height must be a positive multiple of 16, got 8\. Try 16\.$"),
        ({"width": 0}, r"^Width must be a positive multiple of 16, got 0\."),
        ({"height": -16}, r"^Height must be a positive multiple of 16, got -16\."),
        ({"steps": 0}, r"^There must be at least one step, got 0\.$"),
        ({"prompt": []}, r"^There is no prompt"),
        ({"prompt": None}, r"^`prompt` is a text or a list of texts, got NoneType\.$"),
        ({"prompt": ["a house", 3]}, r"^`prompt` is a text or a list of texts, got int\.$"),
        ({"negative_prompt": None}, r"^`negative_prompt` is a text or a list of texts, got NoneType\.$"),
        ({"negative_prompt": []}, r"^Prompts: 1, negative prompts: 0\. Give one text for all prompts, or a list"),
        ({"negative_prompt": ["water", "snow"]}, r"^Prompts: 1, negative prompts: 2\. Give one text for all prompts"),
        ({"layers": 24}, r"^Layer 24 does not exist"),
        ({"concepts": ()}, r"^There are no concepts"),
        ({"frames": 9}, r"^This model makes images, not videos: 9 frames are not possible"),
        ({"layers": "24"}, r"^Layer 24 does not exist"),
        ({"dtype": "bfloat16"}, r"^dtype 'bfloat16' does not exist\. Choose one of float32, float16\.$"),
        ({"dtype": torch.float64}, r"^dtype 'float64' does not exist"),
        ({"mode": "sdxl"}, r"^Mode 'sdxl' does not exist"),
        ({"concepts": parse_concepts("castle")}, r'^The text encoder does not know every word in "castle"'),
    ],
)
def test_what_cannot_be_generated_is_refused_before_the_run(
    schnell: Any, captured: Any, options: dict[str, Any], message: str
) -> None:
    with pytest.raises(ValueError, match=message) as error:
        generate(schnell, **{"prompt": PROMPTS[0], "concepts": CONCEPTS, **SMALL, **options})
    assert "\n" not in str(error.value)
    assert untouched(schnell.transformer)


def test_unknown_words_of_a_prompt_are_warned_of(schnell: Any, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING, "concept_attention"):
        generate(schnell, "a red house", CONCEPTS, **SMALL)
        assert not caplog.records
        generate(schnell, "a red castle", CONCEPTS, **SMALL)
    assert 'does not know every word in "a red castle"' in caplog.text


def test_a_recording_that_takes_a_gibibyte_is_announced(
    schnell: Any, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("concept_attention.hosts.collector.GIBIBYTE", 500)
    with caplog.at_level(logging.WARNING, "concept_attention"):
        generate(schnell, "a red house", CONCEPTS, **SMALL)
    (said,) = caplog.messages
    assert said.startswith("This recording will take ") and "2 steps, 3 layers, 3 concepts, 12 tokens" in said


def test_what_cannot_be_kept_is_refused(schnell: Any) -> None:
    with pytest.raises(ValueError, match=r"^keep 'some' does not exist"):
        generate(schnell, "a red house", CONCEPTS, keep="some", **SMALL)  # type: ignore[arg-type]
