"""The Lens adapter: sizes, prompts that are padded or empty, and text of one layer of the encoder."""

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

pytest.importorskip("comfy.ldm.lens", reason="this ComfyUI has no Lens")

from concept_attention.hosts.comfyui.adapters.lens import Lens

from ....support.comfyui.architectures.lens import LENS

CLOSE = 1e-5
SETTINGS = Settings(make_encoded())


def test_sizes_are_read_from_the_live_model() -> None:
    found = Lens().describe(LENS.make().model)
    assert (found.layer_count, found.text_width, found.patch) == (3, 48, 1)
    assert not Lens().matches(types.SimpleNamespace(diffusion_model=nn.Identity()))


def test_default_layers_of_a_full_size_model_end_before_the_last_block() -> None:
    network = types.SimpleNamespace(transformer_blocks=range(48), txt_in=types.SimpleNamespace(in_features=4 * 2880))
    found = Lens().describe(types.SimpleNamespace(diffusion_model=network))
    assert found.default_layers == tuple(range(37, 47))


def test_a_latent_cell_is_a_token_of_sixteen_pixels() -> None:
    tiny = replace(LENS, grid=(1, 5, 3))
    latent = torch.zeros(1, 128, 5, 3)
    recording, expected = recorded_and_expected(
        tiny, tiny.make(), SETTINGS, positive=tiny.cond(), latent=latent, steps=1
    )
    assert (recording.grid, recording.image_size, recording.covered_size) == ((1, 5, 3), (80, 48), None)
    assert relative_error(recording.scores, expected) < CLOSE


def test_padding_of_the_prompt_does_not_reach_the_concepts() -> None:
    mask = torch.ones(1, 7, dtype=torch.long)
    mask[:, 4:] = 0
    options = {"positive": LENS.cond(attention_mask=mask), "latent": LENS.empty(), "steps": 1}
    recording, expected = recorded_and_expected(LENS, LENS.make(), SETTINGS, **options)
    assert relative_error(recording.scores, expected) < CLOSE


def test_concepts_have_the_first_position_of_a_prompt_beside_an_empty_one() -> None:
    """ComfyUI gives an empty prompt no tokens, so that nothing at all is at the place that concepts take.

    A prompt of one token that nothing attends to is as good as none.
    """
    model = LENS.make()
    options = {"latent": LENS.empty(), "steps": 1, "negative": LENS.cond(seed=3)}
    empty = recording_of(model, SETTINGS, positive=LENS.cond(tokens=0), **options)
    unseen = LENS.cond(tokens=1, attention_mask=torch.zeros(1, 1, dtype=torch.long))
    recording, expected = recorded_and_expected(LENS, model, SETTINGS, positive=unseen, **options)
    assert relative_error(recording.scores, expected) < CLOSE
    assert relative_error(empty.scores, recording.scores) < CLOSE


def test_text_of_one_layer_has_one_norm() -> None:
    tiny = replace(
        LENS,
        config={**LENS.config, "multi_layer_encoder_feature": False, "enc_hidden_dim": 48},
        project=lambda network, embeddings, calls: network.txt_in(network.txt_norm(embeddings)),
    )
    options = {"positive": tiny.cond(), "latent": tiny.empty(), "steps": 1}
    recording, expected = recorded_and_expected(tiny, tiny.make(), SETTINGS, **options)
    assert relative_error(recording.scores, expected) < CLOSE
