"""How Stable Diffusion 3's texts, images and schedule are read."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from concept_attention.concepts import parse_concepts
from concept_attention.errors import UserError
from concept_attention.hosts.diffusers.analysis import analyze
from concept_attention.hosts.diffusers.encode import encode_concepts
from concept_attention.hosts.diffusers.generation import generate
from concept_attention.hosts.diffusers.pipelines import sd3
from concept_attention.hosts.diffusers.pipelines.sd3 import SD3Family

from ....support.diffusers.families import FAMILIES
from ....support.diffusers.small_pipelines import make_sd3_pipeline
from ....support.diffusers.twin import twin
from ....support.numbers import naive_scores, relative_error

CONCEPTS = parse_concepts("sky\ncar: a red car\nmoon")
IMAGE = Image.fromarray(np.random.default_rng(0).integers(0, 256, (48, 64, 3), dtype=np.uint8))


@pytest.fixture(scope="module")
def pipeline(random_pipeline: Any) -> Any:
    return make_sd3_pipeline(random_pipeline)


def test_concepts_are_read_alone_by_t5(pipeline: Any) -> None:
    found = encode_concepts(pipeline, CONCEPTS, "last", 24)
    assert (found.read_by, found.token_counts, found.context_tokens) == ("t5", (1, 3, 1), None)
    ids = pipeline.tokenizer_3("a red car", padding="max_length", max_length=24, return_tensors="pt").input_ids
    with torch.no_grad():
        states = pipeline.text_encoder_3(ids)[0][0]
    torch.testing.assert_close(found.embeddings[1], states[2], rtol=1e-5, atol=1e-5)


def test_concepts_are_read_in_one_line_by_clip(pipeline: Any) -> None:
    found = encode_concepts(pipeline, CONCEPTS, "auto", 24, "clip")
    assert (found.read_by, found.pooling, found.token_counts) == ("clip", "last", (1, 3, 1))
    with torch.no_grad():
        line, *_ = pipeline.encode_prompt("sky a red car moon", None, None, do_classifier_free_guidance=False)
    torch.testing.assert_close(found.embeddings, line[0, [1, 4, 5]], rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(found.context_tokens, line[0, :1], rtol=1e-5, atol=1e-5)
    assert line[0, :, 96:][:6].abs().max() == 0  # CLIP is narrower than T5


def test_the_start_token_rides_along_and_is_not_recorded(pipeline: Any, captured: Any) -> None:
    calls = captured(pipeline.transformer)
    found = analyze(pipeline, IMAGE, CONCEPTS, reader="clip", width=64, height=48, max_tokens=24)
    encoded = encode_concepts(pipeline, CONCEPTS, "auto", 24, "clip")
    images, concepts = twin(FAMILIES["SD3.5 medium"], pipeline.transformer, calls[0], encoded.rows())
    expected = naive_scores(images, [one[:, :3] for one in concepts])
    assert relative_error(found.scores[0], expected) < 1e-5
    assert found.metadata["text_encoder"] == "clip"


def test_a_model_loaded_without_t5_is_read_by_clip(random_pipeline: Any) -> None:
    pipeline = make_sd3_pipeline(random_pipeline)
    pipeline.text_encoder_3 = pipeline.tokenizer_3 = None
    assert encode_concepts(pipeline, CONCEPTS).read_by == "clip"
    with pytest.raises(UserError, match=r'^The reader "t5" needs T5'):
        encode_concepts(pipeline, CONCEPTS, reader="t5")
    run = generate(pipeline, "a house", CONCEPTS, width=64, height=48, steps=1, cfg=1, max_tokens=24)
    assert run.recording.metadata["text_encoder"] == "clip"


def test_words_that_clip_does_not_know_are_refused(pipeline: Any) -> None:
    with pytest.raises(UserError, match=r'^The text encoder does not know every word in "castle"'):
        encode_concepts(pipeline, parse_concepts("castle"), reader="clip")
    with pytest.raises(UserError, match=r"^The concepts together have \d+ tokens, CLIP can take"):
        encode_concepts(
            pipeline, parse_concepts([f"n{n}: red red red red red red red red" for n in range(20)]), reader="clip"
        )


def test_an_image_is_looked_at_with_its_prompts_pooled_vector(pipeline: Any, captured: Any) -> None:
    calls = captured(pipeline.transformer)
    analyze(pipeline, IMAGE, CONCEPTS, prompt="a red house", noise=0.25, width=64, height=48, max_tokens=24)
    with torch.no_grad():
        text, _, pooled, _ = pipeline.encode_prompt(
            "a red house", None, None, do_classifier_free_guidance=False, max_sequence_length=24
        )
        pixels = torch.from_numpy(np.array(IMAGE)).permute(2, 0, 1)[None].float() / 127.5 - 1
        latents = (pipeline.vae.encode(pixels).latent_dist.mean - 0.12) * 0.36
    fresh = torch.randn(4, 6, 8, generator=torch.Generator().manual_seed(0))
    (shown,) = calls
    assert relative_error(shown["hidden_states"], 0.25 * fresh + 0.75 * latents) < 1e-5
    assert relative_error(shown["pooled_projections"], pooled) < 1e-5
    assert relative_error(shown["encoder_hidden_states"], text) < 1e-5
    assert shown["timestep"].tolist() == [250.0]


TOO_LARGE = (
    r"^This model has positions for images of up to 256 x 256 pixels, got 272 x 64 \(width x height\)\. "
    r"Choose a smaller size\.$"
)


def test_a_size_beyond_the_table_of_positions_is_refused_before_anything_runs(pipeline: Any, captured: Any) -> None:
    calls = captured(pipeline.transformer)
    with pytest.raises(UserError, match=TOO_LARGE):
        generate(pipeline, "a house", CONCEPTS, width=272, height=64, steps=1, max_tokens=24)
    with pytest.raises(UserError, match=TOO_LARGE):
        analyze(pipeline, IMAGE, CONCEPTS, width=272, height=64, max_tokens=24)
    assert not calls
    most = generate(pipeline, "a house", CONCEPTS, width=256, height=64, steps=1, cfg=1, max_tokens=24)
    assert most.recording.grid == (1, 4, 16)


def test_the_schedule_is_the_models(pipeline: Any) -> None:
    found = [SD3Family().schedule_sigma(pipeline, 4, step, 4096) for step in range(4)]
    assert found == pytest.approx([1.0, 0.8577, 0.6022, 0.0089], abs=1e-4)


def test_a_turbo_model_is_known_by_its_name(pipeline: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    assert (SD3Family().defaults(pipeline).steps, SD3Family().defaults(pipeline).cfg) == (28, 4.5)
    monkeypatch.setattr(sd3, "model_name", lambda pipeline: "someone/sd3.5-large-turbo")
    assert (SD3Family().defaults(pipeline).steps, SD3Family().defaults(pipeline).cfg) == (4, 1.0)
