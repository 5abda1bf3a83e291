"""What is particular to MiniMax-H3: keyframes, references, pictures in the prompt, and frames."""

from __future__ import annotations

import dataclasses
from typing import Any

import comfy.nested_tensor
import pytest
import torch

pytest.importorskip("comfy.ldm.minimax.model", reason="needs ComfyUI: this one has no MiniMax-H3")

from concept_attention.hosts.comfyui.analysis import analyze
from concept_attention.hosts.comfyui.engine.settings import Settings

from ....support.comfyui.architectures.minimax_h3 import VIDEO, make_tiny
from ....support.comfyui.architectures.oracle import recorded_and_expected
from ....support.comfyui.recording_spy import make_encoded, recording_of
from ....support.numbers import relative_error

CLOSE = 1e-5
FRAME = 24  # tokens of a latent frame


def picture(seed: int = 4) -> torch.Tensor:
    return torch.randn(1, 24, 1, 12, 8, generator=torch.Generator().manual_seed(seed))


KEYFRAME = {"minimax_keyframes": [{"resolved_frame_index": 0, "latent": picture()}]}
REFERENCE = {"minimax_refs": [{"kind": "image", "latent_h": 12, "latent_w": 8, "latent": picture()}]}
PICTURE_IN_PROMPT = {"minimax_token_tags": torch.tensor([0, 0, 0, 1, 1, 1, 1])}


@pytest.mark.parametrize(
    ("options", "others"), [(KEYFRAME, FRAME), (REFERENCE, FRAME), (PICTURE_IN_PROMPT, 0)], ids=["key", "ref", "prompt"]
)
def test_scores_are_those_of_blocks_that_run_on_the_concepts(options: dict[str, Any], others: int) -> None:
    """Keyframes and references are attended to; the maps are the video's."""
    tiny = make_tiny(others=others)
    settings = Settings(make_encoded(width=48))
    recording, expected = recorded_and_expected(
        tiny, tiny.make(), settings, positive=tiny.cond(**options), latent=tiny.empty(), steps=2
    )
    assert recording.grid == (3, 6, 4) and "troubles" not in recording.metadata
    assert relative_error(recording.scores, expected) < CLOSE


def test_latent_frames_stand_for_as_many_frames_as_the_host_says() -> None:
    latent = comfy.nested_tensor.NestedTensor([torch.zeros(1, 24, 7, 4, 4), torch.zeros(1, 32, 2, 5)])
    recording = recording_of(
        VIDEO.make(), Settings(make_encoded(width=48)), positive=VIDEO.cond(), latent=latent, steps=1
    )
    assert recording.frame_counts == (1, 4, 4, 4, 4, 1, 4)


def test_a_picture_is_one_latent_frame() -> None:
    latent = comfy.nested_tensor.NestedTensor([torch.zeros(1, 24, 1, 5, 4), torch.zeros(1, 32, 2, 2)])
    recording = recording_of(
        VIDEO.make(), Settings(make_encoded(width=48)), positive=VIDEO.cond(), latent=latent, steps=1
    )
    assert recording.grid == (1, 3, 2) and not recording.video
    assert (recording.image_size, recording.covered_size) == ((80, 64), (96, 64))


def test_an_existing_picture_is_analysed_with_silence() -> None:
    recording = analyze(VIDEO.make(), Settings(make_encoded(width=48)), {"samples": picture()}, VIDEO.cond(), 0.5, 2)
    assert recording.grid == (1, 6, 4) and len(recording.steps) == 2
    assert recording.scores.std(-1).min() > 0


def test_the_default_layers_of_the_full_size_model() -> None:
    large = dataclasses.replace(VIDEO, config={**VIDEO.config, "num_layers": 50})
    assert VIDEO.adapter.describe(large.build(device="meta")).default_layers == tuple(range(39, 49))
