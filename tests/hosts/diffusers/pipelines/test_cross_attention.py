"""Pipelines of families whose concepts are read as keys, recorded in any call."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from diffusers import FlowMatchEulerDiscreteScheduler
from torch import Tensor

from concept_attention.concepts import parse_concepts
from concept_attention.errors import UserError
from concept_attention.hosts.diffusers.record import record
from concept_attention.hosts.encoded import ConceptText, EncodedConcepts

from ....support.diffusers.cross_attention.catalogue import CROSS
from ....support.diffusers.cross_attention.family import TEXT_WIDTH, CrossFamily
from ....support.diffusers.tiny_transformers import seeded_noise
from ....support.numbers import relative_error

CLOSE = 1e-5
Capture = Callable[[Any], list[dict[str, Any]]]


def words_of(states: Tensor) -> EncodedConcepts:
    """Every token of a prompt, (T, E), as a concept; the embeddings would give other maps."""
    names = parse_concepts([f"thing {n}" for n in range(len(states))])
    texts = tuple(ConceptText(states, (n, n + 1)) for n in range(len(states)))
    return EncodedConcepts(names, states + 1, (1,) * len(states), "mean", texts=texts)


def expected_maps(
    family: CrossFamily, transformer: Any, inputs: dict[str, Any], grid: tuple[int, int], tokens: int
) -> Tensor:
    """Attention maps of the first row's words in one evaluation, (L, B, C, N)."""
    with family.observed(*grid, tokens) as calls, torch.no_grad():
        transformer(**inputs)
    return torch.stack([attended.weights(range(tokens)).mean(1).transpose(1, 2) for attended in calls])


@pytest.mark.parametrize("cached", [False, True])
def test_qwen_image_21_is_recorded_with_its_cache_and_without(cached: bool, captured: Capture) -> None:
    """With the cache on, the text is computed in the first step only; its keys are in every step's attention."""
    from diffusers.modular_pipelines.qwenimage21.modular_blocks_qwenimage21 import QwenImage21CoreDenoiseStep

    family = CROSS["Qwen-Image 2.1"]
    transformer, noise = family.make(), seeded_noise(7)
    pipeline = QwenImage21CoreDenoiseStep().init_pipeline()
    pipeline.update_components(transformer=transformer, scheduler=FlowMatchEulerDiscreteScheduler())
    pipeline.guider.guidance_scale = 4.0
    pipeline.set_progress_bar_config(disable=True)
    prompt, negative = noise(1, 7, TEXT_WIDTH), noise(1, 5, TEXT_WIDTH)
    calls = captured(transformer)

    def run() -> Tensor:
        return pipeline(
            generator=torch.Generator().manual_seed(3),
            prompt_embeds=prompt,
            prompt_embeds_mask=torch.ones(1, 7, dtype=torch.bool),
            negative_prompt_embeds=negative,
            negative_prompt_embeds_mask=torch.ones(1, 5, dtype=torch.bool),
            image_pad_mask=torch.zeros(1, 7, dtype=torch.bool),
            negative_image_pad_mask=torch.zeros(1, 5, dtype=torch.bool),
            height=64,
            width=96,
            num_inference_steps=3,
            use_kv_cache=cached,
            output="latents",
        )

    plain = run()
    calls.clear()
    with record(pipeline, words_of(prompt[0])) as recording:
        latents = run()
    assert torch.equal(latents, plain)
    assert [one.get("kv_cache_mode") for one in calls] == ["extract"] * 2 + ["cached"] * 4 if cached else [None] * 6
    assert (recording.grid, recording.image_size, recording.reading) == ((1, 4, 6), (64, 96), "cross")
    assert "troubles" not in recording.metadata and recording.scores.shape == (3, 3, 1, 7, 24)
    for step in range(3):
        inputs = {**calls[2 * step], "kv_cache": None, "kv_cache_mode": None}
        expected = expected_maps(family, transformer, inputs, (4, 6), 7)
        assert relative_error(recording.scores[step].exp(), expected) < CLOSE
    needs = pytest.raises(UserError, match="Mode flux needs joint blocks.*Choose auto, cross or gram")
    with needs, record(pipeline, words_of(prompt[0]), mode="flux"):
        pass
