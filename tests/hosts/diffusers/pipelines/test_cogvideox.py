"""How CogVideoX's texts, videos and schedule are read, and which frames its tokens stand for."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from concept_attention.concepts import parse_concepts
from concept_attention.errors import UserError
from concept_attention.heatmaps.heatmaps import make_heatmaps
from concept_attention.hosts.diffusers.analysis import analyze
from concept_attention.hosts.diffusers.encode import encode_concepts
from concept_attention.hosts.diffusers.generation import generate
from concept_attention.hosts.diffusers.pipelines.cogvideox import CogVideoXFamily

from ....support.diffusers.small_pipelines import PIPELINES, make_cogvideox_pipeline
from ....support.numbers import relative_error

CONCEPTS = parse_concepts("sky\ncar: a red car")
FRAMES = [Image.fromarray(one) for one in np.random.default_rng(0).integers(0, 256, (9, 48, 64, 3), dtype=np.uint8)]
SMALL: dict[str, Any] = {"width": 64, "height": 48, "max_tokens": 24}


@pytest.fixture(scope="module")
def pipeline(random_pipeline: Any) -> Any:
    return make_cogvideox_pipeline(random_pipeline)


def of(patch: int | None) -> Any:
    transformer = SimpleNamespace(config=SimpleNamespace(patch_size_t=patch))
    return SimpleNamespace(vae_scale_factor_temporal=4, transformer=transformer)


@pytest.mark.parametrize(
    "patch, frames, grid, counts",
    [
        (None, 49, 13, (1, *[4] * 12)),
        (None, 9, 3, (1, 4, 4)),
        (None, 1, 1, None),
        (2, 81, 11, (1, *[8] * 10)),  # 21 latent frames and one in front
        (2, 9, 2, (1, 8)),
        (2, 1, 1, None),
    ],
)
def test_every_frame_has_its_tokens(patch: int | None, frames: int, grid: int, counts: Any) -> None:
    found = CogVideoXFamily().layout(of(patch), 720, 480, frames)
    assert (found.grid, found.frame_counts) == ((grid, 30, 45), counts)
    assert found.tokens == grid * 30 * 45


@pytest.mark.parametrize("frames, better", [(0, "1 or 9"), (48, "41 or 49"), (53, "49 or 57")])
def test_a_number_of_frames_that_the_vae_does_not_keep_is_refused(frames: int, better: str) -> None:
    with pytest.raises(UserError, match=rf"^The number of frames must be 8 n \+ 1, got {frames}\. Try {better}\.$"):
        CogVideoXFamily().layout(of(None), 720, 480, frames)


@pytest.mark.parametrize("kind", ["CogVideoX 5B", "CogVideoX 1.5"])
def test_a_heatmap_for_every_frame_of_the_video(random_pipeline: Any, kind: str) -> None:
    run = generate(PIPELINES[kind](random_pipeline), "a house", CONCEPTS, frames=9, steps=1, **SMALL)
    assert not run.images and len(run.videos) == 1
    shares = make_heatmaps(run.recording)
    assert shares.video and len(shares.frames) == len(run.videos[0]) == 9
    assert shares.per_frame().values.shape == (1, 2, 9, 3, 4)
    assert float((shares.values.sum(1) - 1).abs().max()) < 1e-6


def test_pads_have_their_part_in_the_authors_mode(pipeline: Any) -> None:
    run = generate(pipeline, "a house", CONCEPTS, frames=9, steps=1, mode="cogvideox", **SMALL)
    assert run.recording.pad_count == 224
    assert make_heatmaps(run.recording).values.sum(1).max() < 0.1


def test_steps_are_the_noise_levels_of_the_scheduler(pipeline: Any, captured: Any) -> None:
    calls = captured(pipeline.transformer)
    found = generate(pipeline, "a house", CONCEPTS, frames=9, steps=3, **SMALL).recording
    alphas = pipeline.scheduler.alphas_cumprod
    times = [int(call["timestep"][0]) for call in calls]
    assert times == [999, 666, 332]
    assert found.sigmas == pytest.approx([float((1 - alphas[time]) ** 0.5) for time in times], abs=1e-6)


@pytest.mark.parametrize("kind", ["CogVideoX 5B", "CogVideoX 1.5"])
@pytest.mark.parametrize("noise", [0.2, 0.7, 1.0])
def test_a_video_is_looked_at_as_the_scheduler_noises_it(
    random_pipeline: Any, captured: Any, kind: str, noise: float
) -> None:
    pipeline = PIPELINES[kind](random_pipeline)
    calls = captured(pipeline.transformer)
    found = analyze(pipeline, FRAMES, CONCEPTS, prompt="a red house", noise=noise, seed=3, **SMALL)
    (shown,) = calls
    video = torch.stack([torch.from_numpy(np.array(one)).float() / 127.5 - 1 for one in FRAMES])
    with torch.no_grad():
        latents = pipeline.vae.encode(video.permute(3, 0, 1, 2)[None]).latent_dist.mean.permute(0, 2, 1, 3, 4) * 0.7
    if kind == "CogVideoX 1.5":
        latents = torch.cat([latents[:, :1], latents], dim=1)
    frames, channels, *size = latents.shape[1:]
    fresh = torch.randn(1, channels, frames, *size, generator=torch.Generator().manual_seed(3)).transpose(1, 2)
    expected = pipeline.scheduler.add_noise(latents, fresh, shown["timestep"])
    assert relative_error(shown["hidden_states"], expected) < 2e-3  # the nearest of 1000 steps
    text, _ = pipeline.encode_prompt("a red house", do_classifier_free_guidance=False, max_sequence_length=24)
    assert relative_error(shown["encoder_hidden_states"], text.detach()) < 1e-5
    assert found.frame_counts == ((1, 4, 4) if kind == "CogVideoX 5B" else (1, 8))
    assert (found.sigmas, found.image_size, found.batch) == ((noise,), (48, 64), 1)


def test_an_image_is_a_video_of_one_frame(pipeline: Any) -> None:
    found = analyze(pipeline, FRAMES[0], CONCEPTS, **SMALL)
    assert (found.grid, found.frame_counts, found.video) == ((1, 3, 4), None, False)
    with pytest.raises(UserError, match=r"^The number of frames must be 8 n \+ 1, got 2\. Try 1 or 9\.$"):
        analyze(pipeline, FRAMES[:2], CONCEPTS, **SMALL)


def test_more_steps_than_the_scheduler_has_are_refused(pipeline: Any) -> None:
    with pytest.raises(UserError, match=r"scheduler makes at most 1000 steps, got 1001\. Ask for fewer\.$"):
        generate(pipeline, "a house", CONCEPTS, frames=9, steps=1001, **SMALL)


def test_there_is_no_clip_to_read_concepts_with(pipeline: Any) -> None:
    with pytest.raises(UserError, match=r'^The reader "clip" needs the tokens of CLIP, and CogVideoX gets none'):
        encode_concepts(pipeline, CONCEPTS, reader="clip")


def test_defaults_are_what_the_model_was_made_for(pipeline: Any, random_pipeline: Any) -> None:
    found = CogVideoXFamily().defaults(pipeline)
    assert (found.width, found.height, found.frames, found.max_tokens) == (64, 48, 9, 24)
    assert (found.side, found.steps, found.cfg, found.frame_rate) == (55, 50, 6.0, 8.0)
    assert CogVideoXFamily().defaults(PIPELINES["CogVideoX 1.5"](random_pipeline)).frame_rate == 16.0


def test_the_other_scheduler_draws_noise_and_gives_the_same_video(random_pipeline: Any) -> None:
    from diffusers import CogVideoXDPMScheduler

    pipeline = make_cogvideox_pipeline(random_pipeline)
    pipeline.scheduler = CogVideoXDPMScheduler.from_config(pipeline.scheduler.config)
    found = generate(pipeline, ["a house", "a tree"], CONCEPTS, frames=9, steps=3, cfg=2.0, seed=4, **SMALL)
    plain = pipeline(
        ["a house", "a tree"],
        width=64,
        height=48,
        num_frames=9,
        num_inference_steps=3,
        guidance_scale=2.0,
        generator=[torch.Generator().manual_seed(seed) for seed in (4, 5)],
        max_sequence_length=24,
    ).frames
    for ours, theirs in zip(found.videos, plain, strict=True):
        assert all(np.array_equal(np.asarray(a), np.asarray(b)) for a, b in zip(ours, theirs, strict=True))
    assert found.recording.sigmas[0] == 1.0 and len(found.recording.steps) == 3
