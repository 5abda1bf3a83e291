"""The Boogu adapter: sizes, the position behind the template, reference images before the generated one, odd sizes."""

from __future__ import annotations

import types
from dataclasses import replace

import pytest
import torch
from torch import nn

from concept_attention.hosts.comfyui.engine.settings import Settings

from ....support.comfyui.architectures.oracle import recorded_and_expected
from ....support.comfyui.encoders import clip_of, first_word
from ....support.comfyui.recording_spy import make_encoded, recording_of
from ....support.numbers import relative_error

pytest.importorskip("comfy.ldm.boogu", reason="this ComfyUI has no Boogu")

from concept_attention.hosts.comfyui.adapters.block_call import BlockCall
from concept_attention.hosts.comfyui.adapters.boogu import Boogu

from ....support.comfyui.architectures.boogu import BOOGU

CLOSE = 1e-5
SETTINGS = Settings(make_encoded())


def test_sizes_are_read_from_the_live_model() -> None:
    found = Boogu().describe(BOOGU.make().model)
    assert (found.layer_count, found.text_width, found.patch) == (3, 48, 2)
    assert not Boogu().matches(types.SimpleNamespace(diffusion_model=nn.Identity()))


def test_default_layers_of_a_full_size_model_are_its_last() -> None:
    """Its text goes on to the layers after the joint blocks, other than in models of joint blocks only."""
    config = {**BOOGU.config, "num_double_stream_layers": 8}
    assert Boogu().describe(replace(BOOGU, config=config).make().model).default_layers == (6, 7)


def test_the_text_encoders_template_is_as_long_as_assumed() -> None:
    assert first_word(clip_of("Boogu")) == Boogu().describe(BOOGU.make().model).concept_position == 29


@pytest.mark.parametrize("tokens", [29, 30, 40])
def test_concepts_have_the_position_of_the_first_word(tokens: int) -> None:
    options = {"positive": BOOGU.cond(tokens=tokens), "latent": BOOGU.empty(), "steps": 1}
    recording, expected = recorded_and_expected(BOOGU, BOOGU.make(), SETTINGS, **options)
    assert relative_error(recording.scores, expected) < CLOSE


def test_the_generated_images_tokens_are_the_last_ones() -> None:
    found = Boogu().token_slices(BlockCall({"img_hidden_states": torch.zeros(1, 40, 4)}, slice(None), 24), 47)
    assert (found.image, found.target) == (slice(7, 47), slice(23, 47))


def test_concepts_see_a_reference_image_that_is_not_mapped() -> None:
    model, latent = BOOGU.make(), BOOGU.empty(2)
    reference = torch.randn(1, 16, 6, 8, generator=torch.Generator().manual_seed(9))
    positive = BOOGU.cond(reference_latents=[reference])
    recording, expected = recorded_and_expected(BOOGU, model, SETTINGS, positive=positive, latent=latent, steps=1)
    assert recording.scores.shape[-1] == 24
    assert relative_error(recording.scores, expected) < CLOSE
    alone = recording_of(model, SETTINGS, positive=BOOGU.cond(), latent=latent, steps=1)
    assert relative_error(recording.scores, alone.scores) > 100 * CLOSE


def test_odd_sizes_have_a_token_for_the_rest() -> None:
    tiny = replace(BOOGU, grid=(1, 5, 4))
    latent = torch.zeros(1, 16, 9, 7)
    recording, expected = recorded_and_expected(
        tiny, tiny.make(), SETTINGS, positive=tiny.cond(), latent=latent, steps=1
    )
    assert (recording.grid, recording.image_size, recording.covered_size) == ((1, 5, 4), (72, 56), (80, 64))
    assert relative_error(recording.scores, expected) < CLOSE


def test_a_concept_is_refined_alone() -> None:
    """What else is asked for does not change where a concept starts."""
    network = BOOGU.make().model.diffusion_model
    embeddings, call = SETTINGS.encoded.embeddings[None], BlockCall({}, slice(None))
    with torch.no_grad():
        together = Boogu().project_concepts(network, embeddings, call)
        alone = Boogu().project_concepts(network, embeddings[:, 1:2], call)
    assert relative_error(together[:, 1:2], alone) < CLOSE
