"""What is particular to HiDream: the image comes first, Llama's tokens are no concepts, a reference image beside it."""

from __future__ import annotations

import dataclasses
import types
from typing import Any

import pytest
import torch

from concept_attention.hosts.comfyui.adapters.block_call import BlockCall
from concept_attention.hosts.comfyui.adapters.hidream import HiDream
from concept_attention.hosts.comfyui.engine.settings import Settings

from ....support.comfyui.architectures.hidream import VARIANTS
from ....support.comfyui.architectures.oracle import recorded_and_expected
from ....support.comfyui.recording_spy import make_encoded, recording_of, sample_and_record
from ....support.comfyui.tiny import Conditioning, sample
from ....support.numbers import relative_error

CLOSE = 1e-5
(TINY,) = VARIANTS
SETTINGS = Settings(make_encoded(width=TINY.text_width))


def cond_with(**more: Any) -> Conditioning:
    ((text, options),) = TINY.cond()
    return [[text, {**options, **more}]]


def test_default_layers_of_a_full_size_model() -> None:
    network = types.SimpleNamespace(
        double_stream_blocks=range(16),
        caption_projection=[types.SimpleNamespace(linear=types.SimpleNamespace(in_features=4096))],
        patch_size=2,
    )
    found = HiDream().describe(types.SimpleNamespace(diffusion_model=network))
    assert (found.default_layers, found.text_width) == ((13, 14, 15), 4096)


def test_the_image_comes_before_all_text() -> None:
    call = BlockCall({"image_tokens": torch.zeros(1, 24, 4), "text_tokens": torch.zeros(1, 25, 4)}, slice(None), 24)
    found = HiDream().token_slices(call, 49)
    assert (found.image, found.target) == (slice(0, 24), slice(0, 24))


def test_llama_reaches_the_concepts_only_through_the_image() -> None:
    """In the first block the image has not read it yet."""
    settings = dataclasses.replace(SETTINGS, layers="0-1")
    options = {"latent": TINY.empty(), "steps": 1}
    other = cond_with(conditioning_llama3=TINY.cond(seed=9)[0][1]["conditioning_llama3"])
    one, two = (recording_of(TINY.make(), settings, positive=cond, **options) for cond in (TINY.cond(), other))
    assert torch.equal(two.norms[:, 0], one.norms[:, 0])
    assert relative_error(two.norms[:, 1], one.norms[:, 1]) > 100 * CLOSE


def test_odd_sizes_are_padded_as_the_model_pads_them() -> None:
    odd = dataclasses.replace(TINY, grid=(1, 5, 4))
    latent = torch.zeros(2, 16, 9, 7)
    recording, expected = recorded_and_expected(odd, odd.make(), SETTINGS, positive=odd.cond(), latent=latent, steps=1)
    assert recording.grid == (1, 5, 4)
    assert relative_error(recording.scores, expected) < CLOSE


@pytest.mark.parametrize("width", [8, 2])
def test_a_reference_image_beside_the_generated_one_is_reported(width: int) -> None:
    """HiDream-E1 edits an image that it sees at the right of its own: nothing is recorded, and sampling goes on."""
    beside = cond_with(concat_latent_image=torch.ones(1, 16, 12, width))
    model, options = TINY.make(), {"positive": beside, "latent": TINY.empty(), "steps": 1}
    latent, result = sample_and_record(model, SETTINGS, **options)
    assert torch.equal(latent, sample(model, **options))
    assert result.recording is None
    assert f"attends to {6 * (4 + width // 2)} image tokens, the target image has 24" in result.reason
