"""The PixelDiT adapter: sizes in pixels, a model without rotation of the text, and short prompts."""

from __future__ import annotations

import types
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import nn

from concept_attention.hosts.comfyui.engine.settings import Settings

from ....support.comfyui.architectures.oracle import recorded_and_expected
from ....support.comfyui.architectures.tiny_architecture import Arguments
from ....support.comfyui.encoders import clip_of, first_word
from ....support.comfyui.recording_spy import make_encoded
from ....support.numbers import relative_error

pytest.importorskip("comfy.ldm.pixeldit", reason="this ComfyUI has no PixelDiT")

from concept_attention.hosts.comfyui.adapters.pixeldit import PixelDiT

from ....support.comfyui.architectures.pixeldit import DECODER, TEXT

CLOSE = 1e-5
SETTINGS = Settings(make_encoded())


def test_sizes_are_read_from_the_live_model() -> None:
    found = PixelDiT().describe(TEXT.make().model)
    assert (found.layer_count, found.text_width, found.patch) == (3, 48, 16)
    assert not PixelDiT().matches(types.SimpleNamespace(diffusion_model=nn.Identity()))


def test_default_layers_of_a_full_size_model_end_before_the_last_block() -> None:
    config = {**TEXT.config, "patch_depth": 14}
    assert PixelDiT().describe(replace(TEXT, config=config).make().model).default_layers == (10, 11, 12)


def test_concepts_have_the_position_of_the_first_word() -> None:
    """Behind a long template, of which the text encoder leaves the first token."""
    assert first_word(clip_of("PixelDiT")) == PixelDiT().describe(TEXT.make().model).concept_position == 1


@pytest.mark.parametrize("tiny", [TEXT, DECODER], ids=["PixelDiT", "PiD"])
def test_odd_sizes_have_a_token_for_the_rest(tiny: Any) -> None:
    tiny = replace(tiny, grid=(1, 5, 3))
    latent = torch.zeros(2, 3, 70, 33)
    recording, expected = recorded_and_expected(
        tiny, tiny.make(), SETTINGS, positive=tiny.cond(), latent=latent, steps=1
    )
    assert (recording.grid, recording.image_size, recording.covered_size) == ((1, 5, 3), (70, 33), (80, 48))
    assert relative_error(recording.scores, expected) < CLOSE


def test_text_that_is_not_rotated() -> None:
    def swap(arguments: Arguments, concept: torch.Tensor) -> Arguments:
        assert arguments["pos_txt"] is None
        return {**arguments, "y": concept}

    tiny = replace(TEXT, config={**TEXT.config, "use_text_rope": False}, swap=swap)
    options = {"positive": tiny.cond(), "latent": tiny.empty(), "steps": 1}
    recording, expected = recorded_and_expected(tiny, tiny.make(), SETTINGS, **options)
    assert relative_error(recording.scores, expected) < CLOSE
