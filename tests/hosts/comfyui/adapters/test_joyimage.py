"""The JoyImage adapter: sizes, reference images and odd sizes."""

from __future__ import annotations

import types
from dataclasses import replace

import pytest
import torch
from torch import nn

from concept_attention.hosts.comfyui.engine.settings import Settings

from ....support.comfyui.architectures.oracle import recorded_and_expected
from ....support.comfyui.recording_spy import make_encoded, recording_of
from ....support.numbers import relative_error

pytest.importorskip("comfy.ldm.joyimage", reason="this ComfyUI has no JoyImage")

from concept_attention.hosts.comfyui.adapters.joyimage import JoyImage

from ....support.comfyui.architectures.joyimage import JOY

CLOSE = 1e-5
SETTINGS = Settings(make_encoded())


def test_sizes_are_read_from_the_live_model() -> None:
    found = JoyImage().describe(JOY.make().model)
    assert (found.layer_count, found.text_width) == (3, 48)
    assert (found.patch, found.frame_patch, found.default_layers) == (2, 1, (0, 1))
    assert not JoyImage().matches(types.SimpleNamespace(diffusion_model=nn.Identity()))


def test_concepts_see_a_reference_image_that_is_not_mapped() -> None:
    model, latent = JOY.make(), JOY.empty(2)
    reference = torch.randn(1, 16, 1, 6, 8, generator=torch.Generator().manual_seed(9))
    positive = JOY.cond(reference_latents=[reference])
    recording, expected = recorded_and_expected(JOY, model, SETTINGS, positive=positive, latent=latent, steps=1)
    assert recording.scores.shape[-1] == 24
    assert relative_error(recording.scores, expected) < CLOSE
    alone = recording_of(model, SETTINGS, positive=JOY.cond(), latent=latent, steps=1)
    assert relative_error(recording.scores, alone.scores) > 100 * CLOSE


def test_odd_sizes_have_a_token_for_the_rest() -> None:
    tiny = replace(JOY, grid=(1, 5, 4))
    latent = torch.zeros(1, 16, 1, 9, 7)
    recording, expected = recorded_and_expected(
        tiny, tiny.make(), SETTINGS, positive=tiny.cond(), latent=latent, steps=1
    )
    assert (recording.grid, recording.image_size, recording.covered_size) == ((1, 5, 4), (72, 56), (80, 64))
    assert relative_error(recording.scores, expected) < CLOSE
