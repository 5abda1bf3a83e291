"""Running the pipelines of all families but Flux 1: what they make is theirs, what is recorded is the model's own."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from concept_attention.concepts import parse_concepts
from concept_attention.hosts.diffusers.analysis import analyze
from concept_attention.hosts.diffusers.encode import encode_concepts
from concept_attention.hosts.diffusers.generation import generate
from concept_attention.hosts.diffusers.loading import load_pipeline
from concept_attention.hosts.diffusers.registry import family_of

from ...support.diffusers.families import FAMILIES
from ...support.diffusers.hooks import untouched
from ...support.diffusers.small_pipelines import PIPELINES
from ...support.diffusers.twin import twin
from ...support.numbers import naive_scores, relative_error

CONCEPTS = parse_concepts("house, tree", "sky")
PROMPTS = ["a red house", "a tree and the moon"]
CLOSE = 1e-5


@pytest.fixture(scope="module", params=PIPELINES)
def kind(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture(scope="module")
def pipeline(kind: str, random_pipeline: Any) -> Any:
    return PIPELINES[kind](random_pipeline)


@pytest.fixture
def options(pipeline: Any) -> dict[str, Any]:
    video = {"frames": 9} if family_of(pipeline).video else {}
    return {"width": 64, "height": 48, "steps": 2, "max_tokens": 24, **video}


def make_images(count: int) -> list[Image.Image]:
    pixels = np.random.default_rng(0).integers(0, 256, (count, 6, 8, 3), dtype=np.uint8)
    return [Image.fromarray(one).resize((64, 48), Image.Resampling.BICUBIC) for one in pixels]


def scores_of(kind: str, pipeline: Any, shown: dict[str, Any], rows: int) -> Tensor:
    """(L, rows, C, N) of the evaluation's last rows, from the model's own blocks."""
    encoded = encode_concepts(pipeline, CONCEPTS, "auto", 24)
    pads = 223 if family_of(pipeline).video else 0
    images, concepts = twin(FAMILIES[kind], pipeline.transformer, shown, encoded.embeddings, pads)
    return naive_scores([one[-rows:] for one in images], [one[-rows:, :3] for one in concepts])


@pytest.mark.parametrize("cfg", [1.0, 2.5])
@pytest.mark.parametrize("batch", [1, 2])
def test_what_is_made_is_bit_identical_with_and_without_concepts(
    kind: str, pipeline: Any, options: dict[str, Any], captured: Any, batch: int, cfg: float
) -> None:
    family = family_of(pipeline)
    if kind == "Flux.2 dev" and cfg > 1:
        pytest.skip("has no classifier-free guidance")
    prompts = PROMPTS[:batch]
    names = {"steps": "num_inference_steps", "frames": "num_frames", "max_tokens": "max_sequence_length"}
    called = {names.get(name, name): value for name, value in options.items()}
    negative = {} if kind.startswith("Flux.2") else {"negative_prompt": ["water"] * batch}
    plain = family.outputs(
        pipeline(
            prompt=prompts,
            guidance_scale=3.0 if kind == "Flux.2 dev" else cfg,
            generator=[torch.Generator().manual_seed(7 + image) for image in range(batch)],
            **negative,
            **called,
        )
    )
    calls = captured(pipeline.transformer)
    found = generate(
        pipeline,
        prompts,
        CONCEPTS,
        negative_prompt="water" if negative else "",
        cfg=cfg,
        guidance=3.0,
        seed=7,
        **options,
    )
    made = found.videos if family.video else found.images
    assert len(made) == batch and np.asarray(made[0]).std() > 1
    assert all(np.array_equal(np.asarray(a), np.asarray(b)) for a, b in zip(made, plain, strict=True))

    recording = found.recording
    per_step = len(calls) // 2
    twins = [scores_of(kind, pipeline, shown, batch) for shown in calls[::per_step]]
    assert relative_error(recording.scores, torch.stack(twins)) < CLOSE
    assert recording.image_size == (48, 64) and recording.grid[1:] == (3, 4)
    assert recording.sigmas[0] > recording.sigmas[1] > 0
    if per_step == 1 and cfg > 1:  # the other half would have been another recording
        others = twin(
            FAMILIES[kind], pipeline.transformer, calls[0], encode_concepts(pipeline, CONCEPTS, "auto", 24).embeddings
        )
        halves = [[one[:batch, : 3 if part else None] for one in outs] for part, outs in enumerate(others)]
        assert relative_error(recording.scores[0], naive_scores(*halves)) > 100 * CLOSE


def test_a_run_that_is_interrupted_leaves_nothing(pipeline: Any, options: dict[str, Any]) -> None:
    def stop(*step: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        generate(pipeline, PROMPTS[0], CONCEPTS, on_step=stop, **options)
    assert untouched(pipeline.transformer)


def test_an_image_is_looked_at_with_noise(kind: str, pipeline: Any, captured: Any) -> None:
    family = family_of(pipeline)
    calls = captured(pipeline.transformer)
    shown = make_images(9 if family.video else 2)
    found = analyze(pipeline, shown, CONCEPTS, prompt=PROMPTS[0], noise=0.3, seed=5, width=64, height=48, max_tokens=24)
    (call,) = calls
    rows = 1 if family.video else 2
    assert relative_error(found.scores[0], scores_of(kind, pipeline, call, rows)) < CLOSE
    assert found.sigmas == (0.3,) and found.image_size == (48, 64)
    # What the model made of noise alone, and of the image alone, at the same time.
    pixels = torch.from_numpy(np.stack([np.asarray(one) for one in shown])).permute(0, 3, 1, 2).float() / 127.5 - 1
    with torch.no_grad():
        latents = family.encode_images(pipeline, pixels)
    fresh = family.fresh_noise(latents[0], 5)
    straight = 0.3 * fresh + (0.7 if not family.video else (1 - 0.3**2) ** 0.5) * latents
    assert relative_error(call["hidden_states"], family.shown(pipeline, {}, straight)["hidden_states"]) < 2e-3


def test_pads_of_concepts_are_read_along_and_each_is_alone(pipeline: Any) -> None:
    one = encode_concepts(pipeline, parse_concepts("sky"), "auto", 24).embeddings
    many = encode_concepts(pipeline, parse_concepts("moon, sky, boat"), "auto", 24).embeddings
    torch.testing.assert_close(many[1:2], one, rtol=1e-5, atol=1e-5)
    assert (many[0] - many[1]).abs().max() > 0.01


@pytest.mark.parametrize(
    "options, message",
    [
        ({"frames": 10}, r"frames"),
        ({"width": 72}, r"^Width must be a positive multiple of 16"),
        ({"reader": "bert"}, r"^Reader 'bert' does not exist"),
    ],
)
def test_what_cannot_be_generated_is_refused(pipeline: Any, options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        generate(pipeline, PROMPTS[0], CONCEPTS, **{"width": 64, "height": 48, "steps": 1, "max_tokens": 24, **options})


def test_a_folder_of_the_family_is_loaded(pipeline: Any, tmp_path: Path, options: dict[str, Any]) -> None:
    pipeline.save_pretrained(tmp_path / "model")
    loaded = load_pipeline(str(tmp_path / "model"), device="cpu", dtype="float32")
    assert type(loaded) is type(pipeline)
    loaded.set_progress_bar_config(disable=True)
    if hasattr(pipeline, "system_message"):
        loaded.system_message = pipeline.system_message
    found, expected = (generate(one, PROMPTS[0], CONCEPTS, cfg=1, **options) for one in (loaded, pipeline))
    assert relative_error(found.recording.scores, expected.recording.scores) < CLOSE


def test_a_model_in_half_precision_is_looked_at(kind: str, random_pipeline: Any, options: dict[str, Any]) -> None:
    """Text encoders and autoencoder are those other tests share: only the transformer's own copy is rounded."""
    pipeline = PIPELINES[kind](random_pipeline)
    full = analyze(pipeline, make_images(1), CONCEPTS, noise=0.3, width=64, height=48, max_tokens=24)
    pipeline.transformer.to(torch.bfloat16)
    half = analyze(pipeline, make_images(1), CONCEPTS, noise=0.3, width=64, height=48, max_tokens=24)
    assert half.scores.dtype == torch.float32
    assert 0 < (half.scores - full.scores).abs().max() < 0.1 * full.scores.abs().max()
