"""Families whose pipelines are modular only: which of their steps run, and what they are asked for."""

from __future__ import annotations

import logging
from typing import Any

import numpy as np
import pytest
import torch
from diffusers import Flux3AutoBlocks, Flux3DistilledAutoBlocks
from PIL import Image

from concept_attention.concepts import parse_concepts
from concept_attention.errors import UserError
from concept_attention.hosts.diffusers import analysis, generation
from concept_attention.hosts.diffusers.analysis import analyze
from concept_attention.hosts.diffusers.encode import encode_concepts
from concept_attention.hosts.diffusers.generation import generate
from concept_attention.hosts.diffusers.loading import defaults_for
from concept_attention.hosts.diffusers.pipelines import first_evaluation
from concept_attention.hosts.encoded import EncodedConcepts
from concept_attention.labelling import labeller
from concept_attention.labelling.settings import LabelSettings

from ....support.diffusers.hooks import untouched
from ....support.diffusers.own_blocks.catalogue import OWN_BLOCKS
from ....support.diffusers.tiny_parts import remade
from ....support.diffusers.whole_pipelines import WHOLE, scheduler

CONCEPTS = parse_concepts("house, tree", "sky")
SIZE: dict[str, Any] = {"width": 64, "height": 48, "max_tokens": 24}
RUN: dict[str, Any] = {**SIZE, "steps": 2}
PICTURE = Image.fromarray(np.random.default_rng(0).integers(0, 256, (48, 64, 3), dtype=np.uint8))


@pytest.fixture(scope="module")
def flux3(random_pipeline: Any) -> Any:
    return WHOLE["Flux 3"].build(random_pipeline)


@pytest.fixture(scope="module")
def encoded(flux3: Any) -> EncodedConcepts:
    return encode_concepts(flux3, CONCEPTS, max_tokens=24)


@pytest.fixture(autouse=True)
def encoded_once(encoded: EncodedConcepts, monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (analysis, generation):
        monkeypatch.setattr(module, "encode_concepts", lambda *_: encoded)


def with_steps_of(blocks: Any, pipeline: Any) -> Any:
    """A pipeline of all of these steps and the same parts."""
    blocks.sub_blocks["text_encoder"].pad_multiple = 24
    made = blocks.init_pipeline()
    made.update_components(**{name: part for name, part in pipeline.components.items() if name in made.components})
    return made


def pixels(result: Any) -> Any:
    return np.asarray(result.images[0])


def test_a_prompt_is_not_rewritten(flux3: Any, encoded: EncodedConcepts) -> None:
    """The step that would is left out, and the language model that it needs is not there."""
    whole = with_steps_of(Flux3AutoBlocks(), flux3)
    before, steps = dict(vars(whole)), list(whole._blocks.sub_blocks)
    assert whole.prompt_upsampler is None and steps[0] == "prompt_upsampler"
    made, expected = (generate(one, "a red house", CONCEPTS, **RUN) for one in (whole, flux3))
    assert np.array_equal(pixels(made), pixels(expected))
    looked = [analyze(one, PICTURE, CONCEPTS, prompt="a red house", **SIZE).scores for one in (whole, flux3)]
    assert torch.equal(*looked)
    found = encode_concepts(whole, CONCEPTS, max_tokens=24, presence=False)
    assert torch.equal(found.embeddings, encoded.embeddings)
    assert vars(whole) == before and list(whole._blocks.sub_blocks) == steps
    assert untouched(whole.transformer)


def test_nothing_is_logged_when_a_picture_is_looked_at(
    flux3: Any, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    """The pipeline is stopped before its first evaluation, which its steps must not take for an error."""
    analyze(flux3, PICTURE, CONCEPTS, **SIZE)
    assert not [one for one in caplog.records if one.levelno >= logging.WARNING]
    assert capfd.readouterr().err == ""


def test_the_guidance_is_that_which_is_asked_for(flux3: Any) -> None:
    """It is the guider's, of which the pipeline keeps its own."""
    guider = flux3.guider
    assert (defaults_for(flux3).cfg, defaults_for(flux3).steps, defaults_for(flux3).max_tokens) == (3.0, 50, 8192)
    own, off, strong = (generate(flux3, "a red house", CONCEPTS, cfg=cfg, **RUN) for cfg in (None, 1.0, 7.0))
    assert flux3.guider is guider and guider.guidance_scale == 3.0
    for made, scale in ((own, 3.0), (off, 1.0), (strong, 7.0)):
        flux3.update_components(guider=guider.new(guidance_scale=scale))
        plain = flux3(
            prompt="a red house",
            width=64,
            height=48,
            num_inference_steps=2,
            max_sequence_length=24,
            generator=torch.Generator().manual_seed(0),
            output="images",
        )
        assert np.array_equal(pixels(made), np.asarray(plain[0]))
    flux3.update_components(guider=guider)
    assert not np.array_equal(pixels(own), pixels(off))
    assert torch.equal(own.recording.scores[0], off.recording.scores[0])  # of the prompt's own evaluation


def test_a_negative_prompt_is_read(flux3: Any) -> None:
    without, given, asked = (
        generate(flux3, "a red house", CONCEPTS, negative_prompt=negative, **RUN)
        for negative in ("", "a tree", ["a tree"])
    )
    assert np.array_equal(pixels(given), pixels(asked))
    assert not np.array_equal(pixels(given), pixels(without))
    with pytest.raises(UserError, match=r"^A negative prompt needs `cfg` above 1, .* got cfg 1 and a Flux3ModularPip"):
        generate(flux3, "a red house", CONCEPTS, negative_prompt="a tree", cfg=1.0, **RUN)


def test_prompts_come_one_by_one(flux3: Any) -> None:
    with pytest.raises(UserError, match=r"^Flux 3 takes one prompt at a time, got 2\. Call `generate` for each"):
        generate(flux3, ["a house", "a tree"], CONCEPTS, **RUN)
    both = generate(flux3, ["a house", "a house"], CONCEPTS, seed=3, **RUN)
    alone = generate(flux3, "a house", CONCEPTS, seed=4, **RUN)
    assert (len(both.images), both.recording.batch) == (2, 2)
    assert torch.allclose(both.recording.scores[:, :, 1:], alone.recording.scores, atol=1e-4)


def test_pictures_are_made_and_labelled_one_by_one(flux3: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """However many the labeller gets at once, picture i is that of its seed alone."""
    monkeypatch.setattr(labeller, "load_pipeline", lambda *_, **__: flux3)
    label = labeller.ConceptLabeller(LabelSettings(CONCEPTS, width=64, height=48, steps=2), "cpu")
    pictures, maps = label.generate(["a house", "a tree"], 4)
    alone = [label.generate([prompt], 4 + index) for index, prompt in enumerate(["a house", "a tree"])]
    assert [np.array_equal(one, other[0]) for one, (other, _) in zip(pictures, alone, strict=True)] == [True, True]
    assert len(maps) == 2


def test_a_concept_may_be_as_long_as_a_prompt(flux3: Any) -> None:
    with pytest.raises(UserError, match="longer than what fits into a prompt"):
        encode_concepts(flux3, ["house " * 30], max_tokens=12, presence=False)
    assert encode_concepts(flux3, ["house " * 30], max_tokens=80, presence=False).token_counts == (30,)


def test_pictures_of_a_batch_are_looked_at_as_alone(flux3: Any) -> None:
    other = Image.new("RGB", (64, 48), "red")
    both = analyze(flux3, [PICTURE, other], CONCEPTS, prompt="a house", **SIZE)
    alone = analyze(flux3, other, CONCEPTS, prompt="a house", **SIZE)
    assert torch.allclose(both.scores[:, :, 1:], alone.scores, atol=1e-4)


def test_a_distilled_model_has_no_guidance_and_fewer_steps(flux3: Any, captured: Any) -> None:
    pipeline = with_steps_of(Flux3DistilledAutoBlocks(), flux3)
    pipeline.update_components(transformer=remade(OWN_BLOCKS["Flux 3"].make(), flow_map=True))
    assert (defaults_for(pipeline).cfg, defaults_for(pipeline).steps) == (1.0, 16)
    assert generate(pipeline, "a red house", CONCEPTS, **RUN).recording.grid == (1, 3, 4)
    with pytest.raises(UserError, match=r"^The guidance of this Flux3DistilledModularPipeline cannot be chosen, got c"):
        generate(pipeline, "a red house", CONCEPTS, cfg=3.0, **RUN)
    calls = captured(pipeline.transformer)
    analyze(pipeline, PICTURE, CONCEPTS, noise=0.3, **SIZE)
    assert [(float(one["timestep"]), float(one["target_timestep"])) for one in calls] == [(pytest.approx(0.3), 0.0)]


@pytest.mark.parametrize("call", [analyze, generate])
def test_what_is_missing_is_said(flux3: Any, call: Any) -> None:
    given = PICTURE if call is analyze else "a house"
    pipeline = with_steps_of(Flux3AutoBlocks(), flux3)
    pipeline.vae = None
    with pytest.raises(UserError, match=r"^This Flux3ModularPipeline has no vae: it was not loaded\. Call `load_comp"):
        call(pipeline, given, CONCEPTS)

    from diffusers.modular_pipelines.flux3.modular_blocks_flux3 import Flux3CoreDenoiseStep

    pipeline = Flux3CoreDenoiseStep().init_pipeline()
    pipeline.update_components(transformer=flux3.transformer, scheduler=scheduler())
    with pytest.raises(
        UserError, match=r"make no images of a prompt, expected those of a Flux3AutoBlocks\. Call it in"
    ):
        call(pipeline, given, CONCEPTS)
    pipeline._blocks = pipeline._blocks.sub_blocks["denoise"]
    with pytest.raises(UserError, match=r"are a Flux3DenoiseStep, expected a sequence of steps\. Call it inside of"):
        call(pipeline, given, CONCEPTS)


def test_nothing_stays_after_a_prompt_that_fails(flux3: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*args: Any, **options: Any) -> None:
        raise KeyboardInterrupt

    steps = flux3.scheduler, flux3._blocks
    monkeypatch.setattr(first_evaluation, "named", fail)
    with pytest.raises(KeyboardInterrupt):
        analyze(flux3, PICTURE, CONCEPTS, **SIZE)
    assert (flux3.scheduler, flux3._blocks) == steps and untouched(flux3.transformer)
