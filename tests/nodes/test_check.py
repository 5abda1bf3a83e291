"""Check Concepts, Best Seed by Concepts, runs that end early, and concepts from a prompt."""

from __future__ import annotations

from typing import Any

import nodes
import pytest
import torch

from .conftest import Pack, sampler_inputs

Landscape = tuple[Any, Any, Any]


@pytest.fixture(scope="module")
def asked(pack: Pack, landscape: Landscape) -> Any:
    """house, sun, sky, grass of the prompt; boat is not in it."""
    prompt = "a house on grass under a sun in the sky"
    return pack.run("ConceptEncode", clip=landscape[1], concepts="boat", from_prompt=prompt)[0]


@pytest.fixture(scope="module")
def checked(pack: Pack, landscape: Landscape, asked: Any) -> Any:
    inputs = sampler_inputs(landscape, 1, steps=12, latent_image={"samples": torch.zeros(1, 16, 32, 32)})
    return pack.run("ConceptAttentionKSampler", **inputs, concepts=asked)[1]


def test_a_prompt_s_things_become_concepts_beside_those_written(asked: Any) -> None:
    assert [concept.name for concept in asked.concepts] == ["boat", "house", "grass", "sun", "sky"]
    assert asked.asked == ("house", "grass", "sun", "sky")
    assert asked.null_words is not None and "house" in asked.null_words.words


def test_a_prompt_alone_is_enough_and_one_without_things_is_an_error(pack: Pack, landscape: Landscape) -> None:
    encoded = pack.run("ConceptEncode", clip=landscape[1], concepts="", from_prompt="a house, a tree")[0]
    assert [concept.name for concept in encoded.concepts] == ["house", "tree"]
    with pytest.raises(Exception, match="names nothing to look for"):
        pack.run("ConceptEncode", clip=landscape[1], concepts="", from_prompt="a picture of the")


def test_null_words_are_encoded_once_per_clip(pack: Pack, landscape: Landscape, concepts: Any, asked: Any) -> None:
    assert concepts.null_words is asked.null_words
    without = pack.run("ConceptEncode", clip=landscape[1], concepts="house", presence=False)[0]
    assert without.null_words is None


def test_the_check_is_the_library_s_and_asks_for_what_the_prompt_asks_for(pack: Pack, checked: Any) -> None:
    find = pack.module("concept_attention.heatmaps.presence").find_present
    scores = {one.name: one.score for one in find(checked)}
    present, least, listed, report = pack.run("ConceptCheck", recording=checked).args
    names = ["house", "grass", "sun", "sky"]
    assert listed == [scores[name] for name in names] and least == min(listed)
    assert present == (least >= 0.5)
    assert [line.split(":")[0] for line in report.splitlines()[:4]] == names


def test_a_wanted_concept_that_is_absent_is_named(pack: Pack, checked: Any) -> None:
    output = pack.run("ConceptCheck", recording=checked, wanted="boat")
    present, least, _, report = output.args
    assert not present and least < 0.3
    assert "boat: absent" in report and "Asked but not there: boat" in report and "There but not asked: " in report
    assert pack.text(output) == report
    assert output.ui["concept_presence"][0]["name"] == "boat"


def test_a_run_with_an_absent_concept_ends_early_and_says_so(pack: Pack, landscape: Landscape, asked: Any) -> None:
    inputs = sampler_inputs(landscape, 1, steps=12, latent_image={"samples": torch.zeros(1, 16, 32, 32)})
    output = pack.run("ConceptAttentionKSampler", **inputs, concepts=asked, stop_if_absent="boat", stop_after=0.5)
    assert output[1].metadata["steps"] == "6 of 6 steps recorded"
    assert "Stopped after step 6 of 12. Absent there, by presence: boat" in pack.text(output)
    assert output[0]["samples"].shape == (1, 16, 32, 32)


def test_the_best_seed_is_finished_as_ksampler_does(pack: Pack, landscape: Landscape, asked: Any) -> None:
    inputs = sampler_inputs(landscape, 1, steps=5, seed=3)
    output = pack.run("ConceptBestOf", **inputs, concepts=asked, seeds=2, wanted="house, sun", part=0.6)
    latent, recording, seed, report = output.args
    assert seed in (3, 4) and report.startswith(f"Seed {seed} is the best of 2.")
    assert report.endswith("Steps not sampled: 4.")
    with torch.inference_mode():
        (plain,) = nodes.KSampler().sample(**{**inputs, "seed": seed})
    assert torch.equal(latent["samples"], plain["samples"])
    assert recording.metadata["seed"] == str(seed) and len(recording.steps) == 5


def test_presence_makes_heatmaps_and_masks(pack: Pack, checked: Any) -> None:
    maps = pack.run("ConceptHeatmaps", recording=checked, kind="presence")[0]
    mask = pack.run("ConceptHeatmapToMask", heatmaps=maps, concepts="house", method="threshold")[0]
    assert maps.kind == "presence" and mask.shape == (1, 256, 256)
