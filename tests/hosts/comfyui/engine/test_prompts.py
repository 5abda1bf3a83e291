"""Prompts have the same weights in the scores as in ComfyUI's output, and are found in all that a guider evaluates."""

from __future__ import annotations

import math
import uuid
from typing import Any

import comfy.conds
import comfy.samplers
import pytest
import torch
from torch import Tensor

from concept_attention.hosts.collector import LayerScores
from concept_attention.hosts.comfyui.engine.prompts import (
    UnknownRegion,
    covered_indices,
    find_positive,
    latent_size,
    prompt_regions,
    without_anchor,
)
from concept_attention.hosts.comfyui.engine.regions import Region, ScoreAccumulator

from ....support.comfyui.tiny import make_flux

GENERATOR = torch.Generator().manual_seed(0)


def cond(value: float, **options: Any) -> dict[str, Any]:
    """A prompt that the model of `host_output` answers with `value` everywhere."""
    return {
        "model_conds": {"c_crossattn": comfy.conds.CONDRegular(torch.full((1, 2, 3), value))},
        "uuid": uuid.uuid4(),
        **options,
    }


def host_output(model: Any, conds: list[list[dict[str, Any]]], x: Tensor, monkeypatch: Any) -> list[Tensor]:
    """ComfyUI's weighted sums, with a model that answers every prompt with its value."""

    def apply_model(x: Tensor, t: Tensor, c_crossattn: Tensor, **_: Any) -> Tensor:
        return c_crossattn[:, 0, 0].reshape(-1, *[1] * (x.ndim - 1)).expand_as(x)

    monkeypatch.setattr(model.model, "apply_model", apply_model)
    monkeypatch.setattr(model.model, "current_patcher", model)
    return comfy.samplers.calc_cond_batch(model.model, conds, x, torch.tensor([0.5]), {"transformer_options": {}})


def masks(*shape: int) -> Tensor:
    return torch.rand(shape, generator=GENERATOR)


PROMPTS = {
    "plain": [cond(1.0), cond(3.0, strength=0.5)],
    "an area": [cond(1.0), cond(2.0, area=(10, 12, 4, 6), strength=2.0)],
    "an area beyond the border": [cond(1.0), cond(2.0, area=(30, 30, 9, 11))],
    "areas with holes": [cond(1.0, area=(8, 8, 0, 0)), cond(2.0, area=(9, 7, 10, 9))],
    "a mask": [cond(1.0, mask=masks(1, 20, 18)), cond(2.0, mask=masks(2, 20, 18), mask_strength=0.7)],
    "a mask in an area": [cond(1.0), cond(2.0, mask=masks(1, 20, 18), area=(8, 6, 3, 5), strength=1.5)],
    "a mask with a hole": [cond(2.0, mask=masks(1, 20, 18).round())],
    "one that begins later": [cond(1.0), cond(2.0, timestep_start=0.4), cond(3.0, timestep_start=0.6)],
    "one that has ended": [cond(1.0), cond(2.0, timestep_end=0.6)],
    "a default for the rest": [cond(1.0, mask=masks(1, 20, 18).round()), cond(5.0, default=True)],
    "a default beside an area": [cond(1.0, area=(8, 8, 2, 2)), cond(5.0, default=True)],
    "a default that nothing is left for": [cond(1.0), cond(5.0, default=True)],
}


@pytest.mark.parametrize("prompts", PROMPTS.values(), ids=PROMPTS.keys())
def test_prompts_have_comfyuis_weights(prompts: list[dict[str, Any]], monkeypatch: pytest.MonkeyPatch) -> None:
    """With one latent pixel per token and the model's constant outputs as scores, the result is ComfyUI's output."""
    x = torch.zeros(2, 4, 20, 18)
    expected = host_output(make_flux(), [[cond(9.0)], prompts], x, monkeypatch)[1][:, 0]
    accumulator = ScoreAccumulator(latent_size(x), (1, 1, 1))
    indices = covered_indices(x, accumulator.size, None)
    values = {prompt["uuid"]: float(prompt["model_conds"]["c_crossattn"].cond[0, 0, 0]) for prompt in prompts}
    for prompt, region in prompt_regions(prompts, x, torch.tensor([0.5]), indices):
        flat = torch.full((2, 1, math.prod(region.size[1:])), values[prompt])
        accumulator.add(accumulator.register(region), 0, LayerScores(flat, torch.ones(2, 1), None))
    found = accumulator.finish()[0].scores.unflatten(-1, (20, 18))[:, 0]
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-5)


def test_areas_of_a_video_are_followed_in_time(monkeypatch: pytest.MonkeyPatch) -> None:
    x = torch.zeros(1, 4, 5, 8, 8)
    prompts = [cond(1.0), cond(2.0, area=(2, 6, 6, 1, 0, 2)), cond(3.0, area=(4, 4, 2, 2))]
    expected = host_output(make_flux(), [prompts], x, monkeypatch)[0][:, 0]
    accumulator = ScoreAccumulator(latent_size(x), (1, 1, 1))
    for (_, region), value in zip(
        prompt_regions(prompts, x, torch.tensor([0.5]), covered_indices(x, accumulator.size, None)),
        (1.0, 2.0, 3.0),
        strict=True,
    ):
        flat = torch.full((1, 1, math.prod(region.size[1:])), value)
        accumulator.add(accumulator.register(region), 0, LayerScores(flat, torch.ones(1, 1), None))
    torch.testing.assert_close(accumulator.finish()[0].scores.unflatten(-1, (5, 8, 8))[:, 0], expected)


class Window:
    def __init__(self, indices: list[int], dim: int, anchor: int | None = None) -> None:
        self.index_list, self.dim = indices, dim
        if anchor is not None:
            self.causal_anchor_index = anchor


def test_context_windows_cover_their_indices() -> None:
    indices = covered_indices(torch.zeros(1, 4, 6, 3), (1, 1, 6, 8), Window([6, 7, 0], 3))
    assert list(map(list, indices)) == [[0], [0], [0, 1, 2, 3, 4, 5], [6, 7, 0]]
    indices = covered_indices(torch.zeros(1, 4, 2, 6, 8), (1, 5, 6, 8), Window([3, 4], 2))
    assert list(indices[1]) == [3, 4]
    indices = covered_indices(torch.zeros(2, 4, 6, 8), (3, 1, 6, 8), Window([0, 2], 0))
    assert list(indices[0]) == [0, 2]


def test_unknown_regions_are_errors() -> None:
    with pytest.raises(UnknownRegion, match="axis 1"):
        covered_indices(torch.zeros(1, 4, 6, 8), (1, 1, 6, 8), Window([0], 1))
    with pytest.raises(UnknownRegion, match="does not say where"):
        covered_indices(torch.zeros(1, 4, 6, 4), (1, 1, 6, 8), None)
    with pytest.raises(UnknownRegion, match="neither images nor videos"):
        latent_size(torch.zeros(1, 1, 99))


def test_the_positive_list_is_found_by_identity_and_windows_of_it_by_their_ids() -> None:
    positive, negative = [cond(1.0), cond(2.0)], [cond(3.0)]
    conds = {"negative": negative, "positive": positive}
    assert find_positive([positive, None], conds) == 0
    assert find_positive([negative, None, positive], conds) == 2
    assert find_positive([negative], conds) is None
    assert find_positive([None, [dict(prompt) for prompt in positive]], conds) == 1
    assert find_positive([[dict(positive[1])], [dict(negative[0])]], conds) == 0
    assert find_positive([negative, []], conds) is None
    assert find_positive([positive], {"other": positive}) is None
    with_their_area = [*negative, dict(positive[0])]  # ComfyUI adds the areas of one list to the others
    assert find_positive([with_their_area, positive], conds) == 1
    assert find_positive([[dict(positive[0])], positive], conds) == 1
    assert find_positive([with_their_area], conds) is None


@pytest.mark.parametrize("anchor, frames, weights", [(None, [4, 5], [1, 1]), (3, [3, 4, 5], [0, 1, 1])])
def test_a_window_of_a_video_has_no_weight_in_its_anchor_frame(
    anchor: int | None, frames: list[int], weights: list[int]
) -> None:
    window, x = Window([4, 5], 2, anchor), torch.zeros(1, 16, len(frames), 6, 8)
    indices = covered_indices(x, (1, 9, 6, 8), window)
    assert list(indices[1]) == frames
    region = without_anchor(Region(indices), window, x.ndim)
    weight = torch.as_tensor(region.weight, dtype=torch.float32).expand(region.size)
    assert weight[0, :, 0, 0].tolist() == weights and bool((weight == weight[:, :, :1, :1]).all())


def test_a_window_that_holds_its_anchor_frame_is_not_recorded() -> None:
    with pytest.raises(UnknownRegion, match="frame 5 twice"):
        covered_indices(torch.zeros(1, 16, 3, 6, 8), (1, 9, 6, 8), Window([4, 5], 2, 5))
