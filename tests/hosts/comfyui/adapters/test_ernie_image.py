"""What is particular to Ernie-Image: its attention is observed by the modules around it."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest
import torch

from concept_attention.hosts.comfyui.adapters.registry import adapter_for
from concept_attention.hosts.comfyui.engine.settings import Settings

from ....support.comfyui.architectures.catalogue import variants_of
from ....support.comfyui.encoders import clip_of, first_word
from ....support.comfyui.recording_spy import make_encoded, recording_of, sample_and_record

VARIANTS = variants_of("ernie_image")
pytestmark = pytest.mark.skipif(not VARIANTS, reason="this ComfyUI's Ernie-Image is too old")


def test_concepts_take_the_position_of_a_prompts_first_word() -> None:
    (tiny,) = VARIANTS
    described = adapter_for(tiny.build(device="meta")).describe(tiny.build(device="meta"))
    assert described.concept_position == first_word(clip_of("Ernie-Image"))


def test_the_default_layers_of_the_full_size_model() -> None:
    (tiny,) = VARIANTS
    large = dataclasses.replace(tiny, config={**tiny.config, "num_layers": 36}).build(device="meta")
    assert adapter_for(large).describe(large).default_layers == tuple(range(28, 35))


def test_a_block_whose_modules_another_pack_goes_around_is_a_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    (tiny,) = VARIANTS
    model = tiny.make()
    attention = model.model.diffusion_model.layers[1].self_attention

    def without_modules(x: torch.Tensor, **_: Any) -> torch.Tensor:
        return torch.zeros_like(x)

    monkeypatch.setattr(attention, "forward", without_modules)
    _, result = sample_and_record(
        model, Settings(make_encoded(width=48)), positive=tiny.cond(), latent=tiny.empty(), steps=1
    )
    assert result.recording is None and "joint block 1 runs code of another pack" in result.reason


def test_several_recordings_of_one_model_are_the_same() -> None:
    (tiny,) = VARIANTS
    model, settings = tiny.make(), Settings(make_encoded(width=48))
    one, other = (
        recording_of(model, settings, positive=tiny.cond(), latent=tiny.empty(2), steps=2, cfg=4.0) for _ in range(2)
    )
    assert torch.equal(one.scores, other.scores)
