"""What is particular to MiniMax-H3: its sound, the lengths of its videos, and pictures."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pytest
import torch
from diffusers import MiniMaxH3Blocks, MiniMaxH3ModularPipeline
from PIL import Image

from concept_attention.concepts import parse_concepts
from concept_attention.errors import UserError
from concept_attention.hosts.diffusers.analysis import analyze
from concept_attention.hosts.diffusers.encode import encode_concepts
from concept_attention.hosts.diffusers.generation import generate
from concept_attention.hosts.diffusers.loading import defaults_for
from concept_attention.hosts.diffusers.record import record

from ....support.diffusers.own_blocks.catalogue import OWN_BLOCKS
from ....support.diffusers.own_blocks.twin import naive_twin
from ....support.diffusers.whole_pipelines import WHOLE
from ....support.numbers import naive_scores, relative_error

CONCEPTS = parse_concepts("house, tree", "sky")
SIZE: dict[str, Any] = {"width": 32, "height": 24}
NOISE = 0.3


@pytest.fixture(scope="module")
def h3(random_pipeline: Any) -> Any:
    return WHOLE["MiniMax-H3"].build(random_pipeline)


def pictures(count: int) -> list[Image.Image]:
    random = np.random.default_rng(0)
    return [Image.fromarray(random.integers(0, 256, (24, 32, 3), dtype=np.uint8)) for _ in range(count)]


def test_the_sound_is_made_as_usual(h3: Any) -> None:
    """All that the pipeline makes, while it is recorded, is what it makes alone."""

    def run() -> dict[str, Any]:
        options = {"prompt": "a red house", "num_frames": 22, "num_inference_steps": 3, "output_type": "pt", **SIZE}
        made: dict[str, Any] = h3(generator=torch.Generator().manual_seed(3), output=["videos", "audio"], **options)
        return made

    plain = run()
    with record(h3, CONCEPTS) as recording:
        made = run()
    assert plain["audio"].std() > 0
    assert all(torch.equal(torch.as_tensor(made[name]), torch.as_tensor(plain[name])) for name in plain)
    found = generate(h3, "a red house", CONCEPTS, frames=22, steps=3, seed=3, **SIZE)
    assert torch.equal(found.recording.scores, recording.scores)
    assert (found.images, len(found.videos[0])) == ([], 22)
    frames = torch.stack([torch.from_numpy(np.array(frame)) for frame in found.videos[0]]).movedim(-1, 1)
    assert torch.equal(frames, (plain["videos"][0] * 255).round().to(torch.uint8))


def test_a_video_is_looked_at_with_silence(h3: Any, captured: Any) -> None:
    """The sound is as noisy as it is where the video is in the same run, at the same place of the two schedules."""
    calls = captured(h3.transformer)
    analyze(h3, pictures(22), CONCEPTS, prompt="a red house", noise=NOISE, **SIZE)
    (shown,) = calls
    place = NOISE / (12 - 11 * NOISE)
    level = 3 * place / (1 + 2 * place)
    assert shown["timestep"].tolist() == pytest.approx([1 - NOISE, 1 - level])
    text, sound = 3, 2 * 37  # 37 in 22 frames, for each ear
    kinds = [0] * text + [1] * sound + [0] * 84
    assert shown["timestep_indices"].tolist() == kinds
    assert shown["audio_hidden_states"].shape == (1, sound, 6)
    expected = level * torch.randn(1, sound, 6, generator=torch.Generator().manual_seed(0))
    assert torch.allclose(shown["audio_hidden_states"], expected)


def test_a_picture_is_one_latent_frame(h3: Any, captured: Any) -> None:
    """It takes less time than the shortest video, and is looked at all the same."""
    calls = captured(h3.transformer)
    found = analyze(h3, pictures(1), CONCEPTS, prompt="a red house", noise=NOISE, **SIZE)
    calls = calls[:]  # without the twin's
    assert (found.grid, found.frame_counts, found.image_size) == ((1, 3, 4), None, (24, 32))
    family = dataclasses.replace(OWN_BLOCKS["MiniMax-H3"], frames=1)
    embeddings = encode_concepts(h3, CONCEPTS, presence=False).embeddings
    outs = naive_twin(family, h3.transformer, calls[0], embeddings, (3, 4))
    assert relative_error(found.scores[0], naive_scores(*outs)) < 1e-5


@pytest.mark.parametrize("frames, tried", [(2, "5 or 22"), (21, "5 or 22"), (23, "22 or 39")])
def test_other_numbers_of_frames_are_refused(h3: Any, frames: int, tried: str) -> None:
    said = rf"^The number of frames must be 17 n \+ 5, or 1 for a picture, got {frames}\. Try {tried}\.$"
    with pytest.raises(UserError, match=said):
        analyze(h3, pictures(frames), CONCEPTS, **SIZE)
    with pytest.raises(UserError, match=said):
        generate(h3, "a house", CONCEPTS, frames=frames, **SIZE)


@pytest.mark.parametrize("frames, seconds", [(1, "0.0"), (107, "4.5"), (362, "15.1")])
def test_the_pipeline_makes_videos_of_some_seconds(h3: Any, frames: int, seconds: str) -> None:
    pipeline = MiniMaxH3ModularPipeline(MiniMaxH3Blocks())
    pipeline.update_components(**{name: part for name, part in h3.components.items() if part is not None})
    said = rf"^MiniMax-H3 makes videos of 5 to 15 seconds, and {frames} frames are {seconds}\. Ask for 124 to 345 fr"
    with pytest.raises(UserError, match=said):
        generate(pipeline, "a house", CONCEPTS, frames=frames, **SIZE)


def test_one_video_is_made_of_one_prompt_in_two_steps_or_more(h3: Any) -> None:
    options: dict[str, Any] = {"frames": 22, "steps": 2, **SIZE}
    with pytest.raises(UserError, match=r"^MiniMax-H3 makes one video at a time, got 2 prompts\. Give one\.$"):
        generate(h3, ["a house", "a house"], CONCEPTS, **options)
    with pytest.raises(UserError, match=r"^MiniMax-H3 makes nothing of an empty prompt\. Give at least one word\.$"):
        generate(h3, " ", CONCEPTS, **options)
    with pytest.raises(UserError, match=r"^There must be at least 2 steps, got 1\.$"):
        generate(h3, "a house", CONCEPTS, **{**options, "steps": 1})
    with pytest.raises(UserError, match=r"^The guidance of this Short cannot be chosen, got cfg 3"):
        generate(h3, "a house", CONCEPTS, cfg=3.0, **options)


def test_defaults_are_those_of_the_released_model(h3: Any) -> None:
    pipeline = MiniMaxH3ModularPipeline(MiniMaxH3Blocks())
    pipeline.transformer = OWN_BLOCKS["MiniMax-H3"].make()
    found = defaults_for(pipeline)
    assert (found.height, found.width, found.frames, found.frame_rate) == (768, 1344, 124, 24.0)
    assert (found.steps, found.cfg, found.side) == (50, 1.0, 1016)
