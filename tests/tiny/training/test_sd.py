"""The landscape model that learns from images and captions alone is trained on what a plain pipeline shows it."""

from __future__ import annotations

from collections import Counter
from random import Random

import numpy as np
import pytest
import torch

from concept_attention.tiny.models.codec import fit_codec
from concept_attention.tiny.models.texts import TEXT_TOKENS, UNKNOWN, clip_row, token_table, word_ids
from concept_attention.tiny.training.sd import SD, training_prompt
from concept_attention.tiny.world.scenes import draw_scene
from concept_attention.tiny.world.views import View, draw_view

PROMPT = "a red house, grass"


@torch.no_grad()
def test_training_shows_the_model_what_sampling_shows_it() -> None:
    torch.manual_seed(0)
    parts = SD.build()
    for module in parts.modules().values():
        module.eval()
    pipeline = SD.pipeline(parts, fit_codec(np.stack([draw_scene(seed, 64, 64).image for seed in range(4)])))
    noisy = torch.randn(1, 16, 4, 6, generator=torch.Generator().manual_seed(1))
    for timestep in (40, 600):
        sigma = (1 - pipeline.scheduler.alphas_cumprod[timestep]).sqrt()[None]
        text, _ = pipeline.encode_prompt(PROMPT, torch.device("cpu"), 1, do_classifier_free_guidance=False)
        theirs = pipeline.unet(noisy, torch.tensor([timestep]), text, return_dict=False)[0]
        ids = torch.tensor([clip_row(word_ids(PROMPT, token_table()), TEXT_TOKENS)])
        ours = SD.velocity(parts, noisy, sigma, ids, ids, torch.zeros(1, 1))
        torch.testing.assert_close(ours, theirs, atol=2e-5, rtol=1e-4)


@torch.no_grad()
def test_half_of_the_images_show_words_with_content_alone() -> None:
    """For these, articles and padding change nothing; for an empty prompt nothing is hidden."""
    torch.manual_seed(0)
    parts = SD.build()
    noisy, sigma = torch.randn(1, 16, 4, 6, generator=torch.Generator().manual_seed(1)), torch.tensor([0.6])

    def predict(prompt: str, chance: float) -> torch.Tensor:
        ids = torch.tensor([clip_row(word_ids(prompt, token_table()), TEXT_TOKENS)])
        return SD.velocity(parts, noisy, sigma, ids, ids, torch.tensor([[chance]]))

    for chance, equal in ((0.3, False), (0.6, True)):
        first, second = (predict(prompt, chance) for prompt in ("a house on the grass", "house grass"))
        assert torch.allclose(first, second, atol=1e-5) == equal
    assert torch.equal(predict("", 0.3), predict("", 0.6))


def test_what_the_model_predicts_is_the_schedulers_v() -> None:
    scheduler, sigma = SD.scheduler(), torch.tensor(0.4)
    latents, noise = (torch.randn(2, 3, 4, generator=torch.Generator().manual_seed(seed)) for seed in (0, 1))
    timestep = int((1 - scheduler.alphas_cumprod).sqrt().sub(sigma).abs().argmin())
    sigma = (1 - scheduler.alphas_cumprod[timestep]).sqrt()
    step = torch.tensor([timestep])
    torch.testing.assert_close(SD.process.mix(latents, noise, sigma), scheduler.add_noise(latents, noise, step))
    torch.testing.assert_close(SD.process.target(latents, noise, sigma), scheduler.get_velocity(latents, noise, step))


def test_a_list_names_some_of_what_is_there_and_nothing_else() -> None:
    kinds, left_out = Counter(), 0
    for seed in range(80):
        scene = draw_scene(seed, 64, 64)
        for index in range(4):
            prompt = training_prompt(scene, Random(10 * seed + index))  # noqa: S311 - reproducible, not secret
            kind = "caption" if prompt == scene.caption else "list" if prompt else "nothing"
            kinds[kind] += 1
            if kind == "list":
                named = [word for word in scene.words if word in prompt.split() or f"{word}," in prompt.split()]
                allowed = {"a", "and", *(part for phrase in scene.phrases.values() for part in phrase.split())}
                assert set(prompt.replace(",", " ").split()) <= allowed
                left_out += len(named) < len(scene.words)
    assert kinds.most_common(1)[0][0] == "list" and kinds["nothing"] == pytest.approx(38, abs=20)
    assert 0.3 < left_out / kinds["list"] < 0.95


def test_a_view_is_listed_as_a_collage_of_all_that_it_shows() -> None:
    view = next(view for view in map(draw_view, range(40)) if isinstance(view, View) and len(view.pictures) == 2)
    shown = {word for part in view.pictures for phrase in part.phrases.values() for word in phrase.split()}
    prompts = [training_prompt(view, Random(index)) for index in range(60)]  # noqa: S311 - reproducible, not secret
    assert all(word_ids(prompt, token_table())[0] == UNKNOWN for prompt in prompts)
    named = {word for prompt in prompts for word in prompt.replace(",", " ").split()[1:]}
    assert {word for part in view.pictures for word in part.words} - {"sky"} <= named <= {"a", "and", *shown}


@torch.no_grad()
def test_to_the_finished_model_an_unknown_word_is_padding() -> None:
    torch.manual_seed(0)
    pipeline = SD.pipeline(SD.build(), fit_codec(np.stack([draw_scene(seed, 64, 64).image for seed in range(4)])))
    with_it, without = (pipeline.encode_prompt(text, "cpu", 1, False)[0] for text in ("house piano", "house"))
    assert torch.equal(with_it, without)


def test_the_time_of_day_mostly_stands_for_the_sky() -> None:
    night = next(scene for seed in range(40) if (scene := draw_scene(seed, 64, 64)).phrases.get("sky") == "night sky")
    prompts = [training_prompt(night, Random(index)) for index in range(300)]  # noqa: S311 - reproducible, not secret
    lists = [prompt.split() for prompt in prompts if prompt and prompt != night.caption and "night" in prompt]
    assert sum("sky" not in words for words in lists) / len(lists) == pytest.approx(0.8, abs=0.1)


def test_no_maps_are_taught() -> None:
    assert SD.map_layers == ()
