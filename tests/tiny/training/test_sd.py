"""The landscape model that learns from images and captions alone is trained on what a plain pipeline shows it."""

from __future__ import annotations

from collections import Counter
from random import Random

import numpy as np
import pytest
import torch

from concept_attention.tiny.models.codec import fit_codec
from concept_attention.tiny.models.texts import TEXT_TOKENS, clip_row, token_table, word_ids
from concept_attention.tiny.training.sd import SD, training_prompt
from concept_attention.tiny.world.scenes import draw_scene

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


def test_no_maps_are_taught() -> None:
    assert SD.map_layers == ()
