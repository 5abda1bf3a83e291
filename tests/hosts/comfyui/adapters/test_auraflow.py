"""What is particular to AuraFlow: register tokens before the prompt's, odd sizes."""

from __future__ import annotations

import dataclasses
import types

import torch

from concept_attention.hosts.comfyui.adapters.auraflow import AuraFlow
from concept_attention.hosts.comfyui.adapters.block_call import BlockCall
from concept_attention.hosts.comfyui.engine.settings import Settings

from ....support.comfyui.architectures.auraflow import VARIANTS
from ....support.comfyui.architectures.oracle import recorded_and_expected
from ....support.comfyui.recording_spy import make_encoded, recording_of
from ....support.numbers import relative_error

CLOSE = 1e-5
(TINY,) = VARIANTS
SETTINGS = Settings(make_encoded(width=TINY.text_width))


def test_default_layers_of_a_full_size_model() -> None:
    network = types.SimpleNamespace(
        double_layers=range(4), cond_seq_linear=types.SimpleNamespace(in_features=2048), patch_size=2
    )
    found = AuraFlow().describe(types.SimpleNamespace(diffusion_model=network))
    assert (found.default_layers, found.text_width) == ((2, 3), 2048)


def test_register_tokens_belong_to_the_text() -> None:
    call = BlockCall({"c": torch.zeros(1, 8 + 7, 4), "x": torch.zeros(1, 24, 4)}, slice(None), 24)
    found = AuraFlow().token_slices(call, 39)
    assert (found.image, found.target) == (slice(15, 39), slice(15, 39))


def test_concepts_do_not_attend_to_register_tokens() -> None:
    """In the first block these are all that is changed here, so what concepts read there is the same."""
    model, other = TINY.make(), TINY.make()
    with torch.no_grad():
        registers = other.model.diffusion_model.register_tokens
        registers.copy_(registers.roll(1, dims=-1))
    settings = dataclasses.replace(SETTINGS, layers="0", mode="flux")
    options = {"positive": TINY.cond(), "latent": TINY.empty(), "steps": 1}
    one, two = (recording_of(each, settings, **options) for each in (model, other))
    assert torch.equal(two.norms, one.norms)
    assert relative_error(two.scores, one.scores) > 100 * CLOSE  # the image does attend to them


def test_odd_sizes_are_padded_as_the_model_pads_them() -> None:
    odd = dataclasses.replace(TINY, grid=(1, 5, 4))
    latent = torch.zeros(2, 4, 9, 7)
    recording, expected = recorded_and_expected(odd, odd.make(), SETTINGS, positive=odd.cond(), latent=latent, steps=1)
    assert recording.grid == (1, 5, 4)
    assert relative_error(recording.scores, expected) < CLOSE
