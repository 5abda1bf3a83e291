"""Scores of regions averaged into those of the whole latent, against loops over latent pixels."""

from __future__ import annotations

import itertools
import math
from typing import Any

import pytest
import torch
from torch import Tensor

from concept_attention.hosts.collector import LayerScores
from concept_attention.hosts.comfyui.engine.regions import Region, ScoreAccumulator, latent_to_tokens

GENERATOR = torch.Generator().manual_seed(0)


def scores(batch: int, tokens: int, concepts: int = 3, pads: bool = False, presence: bool = False) -> LayerScores:
    return LayerScores(
        torch.randn(batch, concepts, tokens, generator=GENERATOR),
        torch.rand(batch, concepts, generator=GENERATOR) + 1,
        torch.randn(batch, tokens, generator=GENERATOR) if pads else None,
        torch.randn(batch, concepts, tokens, generator=GENERATOR) if presence else None,
    )


def area(rows: range, columns: range, weight: Any = 1.0, batch: range = range(2)) -> Region:
    return Region((batch, range(1), rows, columns), weight)


def naive_paste(accumulator: ScoreAccumulator, regions: list[Region], parts: list[LayerScores], what: str) -> Tensor:
    """Mean over the covered latent pixels of each token of the mean over the regions that cover them, (B, C, N)."""
    values = [part.pad_scores[:, None] if what == "pad_scores" else getattr(part, what) for part in parts]  # type: ignore[index]
    batch, *size = accumulator.size
    grid = latent_to_tokens(size, accumulator.patch)
    result = torch.zeros(batch, values[0].shape[1], math.prod(grid), dtype=torch.float64)
    for b, c, token in itertools.product(range(batch), range(values[0].shape[1]), range(math.prod(grid))):
        means = []
        at = (token // (grid[1] * grid[2]), token // grid[2] % grid[1], token % grid[2])
        spans = [range(p * i, min(p * i + p, n)) for i, p, n in zip(at, accumulator.patch, size, strict=True)]
        for pixel in itertools.product(*spans):
            total = count = 0.0
            for region, part in zip(regions, values, strict=True):
                if b not in region.indices[0] or any(
                    i not in axis for i, axis in zip(pixel, region.indices[1:], strict=True)
                ):
                    continue
                own = [list(axis).index(i) for i, axis in zip((b, *pixel), region.indices, strict=True)]
                weight = region.weight if isinstance(region.weight, float) else float(region.weight[tuple(own)])
                own_grid = latent_to_tokens([len(axis) for axis in region.indices[1:]], accumulator.patch)
                t, h, w = (i // p for i, p in zip(own[1:], accumulator.patch, strict=True))
                value = float(part[own[0], c, (t * own_grid[1] + h) * own_grid[2] + w])
                total, count = total + weight * value, count + weight
            means += [total / count] if count else []
        result[b, c, token] = sum(means) / len(means) if means else 0.0
    return result


def tokens_of(region: Region, patch: tuple[int, int, int]) -> int:
    return math.prod(latent_to_tokens([len(axis) for axis in region.indices[1:]], patch))


WEIGHTS = torch.rand(2, 1, 5, 4, generator=GENERATOR)
HALF = torch.cat([torch.zeros(2, 1, 5, 2), torch.ones(2, 1, 5, 2)], dim=-1)
CASES = {
    "two prompts": [area(range(7), range(6)), area(range(7), range(6), 0.25)],
    "aligned area": [area(range(7), range(6)), area(range(2, 6), range(2, 6))],
    "area between tokens": [area(range(7), range(6)), area(range(1, 6), range(1, 5), WEIGHTS)],
    "holes": [area(range(2, 7), range(1, 5), HALF)],
    "no weight at all": [area(range(7), range(6), 0.0)],
    "windows of the batch": [area(range(7), range(6), batch=range(1)), area(range(7), range(6), batch=range(2))],
    "one image of two": [area(range(7), range(6), batch=range(1, 2))],
    "columns that wrap around": [Region((range(2), range(1), range(7), [4, 5, 0, 1])), area(range(7), range(1, 5))],
}


@pytest.mark.parametrize("extra", ["", "pad_scores", "presence"])
@pytest.mark.parametrize("regions", CASES.values(), ids=CASES.keys())
def test_regions_are_averaged_per_latent_pixel(regions: list[Region], extra: str) -> None:
    more = {"pads": extra == "pad_scores", "presence": extra == "presence"}
    accumulator = ScoreAccumulator((2, 1, 7, 6), (1, 2, 2))
    layers = {}
    for layer in (0, 3):
        layers[layer] = [
            scores(len(region.indices[0]), tokens_of(region, accumulator.patch), **more) for region in regions
        ]
    numbers = [accumulator.register(region) for region in regions]
    for layer, parts in layers.items():
        for number, part in zip(numbers, parts, strict=True):
            accumulator.add(number, layer, part)
    finished = accumulator.finish()
    assert sorted(finished) == [0, 3]
    for layer, parts in layers.items():
        expected = naive_paste(accumulator, regions, parts, "scores")
        torch.testing.assert_close(finished[layer].scores.double(), expected, atol=1e-5, rtol=1e-5)
        for name in ("pad_scores", "presence"):
            found = getattr(finished[layer], name)
            assert (found is None) == (name != extra)
            if name == extra:
                expected = naive_paste(accumulator, regions, parts, name)
                torch.testing.assert_close(found.double().view_as(expected), expected, atol=1e-5, rtol=1e-5)


def test_a_video_is_averaged_frame_by_frame() -> None:
    accumulator = ScoreAccumulator((1, 3, 4, 4), (2, 2, 2))
    regions = [
        Region((range(1), range(0, 2), range(4), range(4))),
        Region((range(1), range(1, 3), range(4), range(4)), 2.0),
    ]
    parts = [scores(1, tokens_of(region, accumulator.patch)) for region in regions]
    for region, part in zip(regions, parts, strict=True):
        accumulator.add(accumulator.register(region), 0, part)
    expected = naive_paste(accumulator, regions, parts, "scores")
    torch.testing.assert_close(accumulator.finish()[0].scores.double(), expected, atol=1e-5, rtol=1e-5)


def test_scores_of_one_prompt_for_the_whole_latent_are_returned_unchanged() -> None:
    accumulator, whole = ScoreAccumulator((2, 1, 7, 6), (1, 2, 2)), scores(2, 12, pads=True)
    accumulator.add(accumulator.register(area(range(7), range(6), 0.3)), 1, whole)
    assert accumulator.finish()[1] is whole


def test_where_all_weights_are_zero_every_concept_scores_zero() -> None:
    accumulator = ScoreAccumulator((2, 1, 7, 6), (1, 2, 2))
    accumulator.add(accumulator.register(area(range(4), range(6))), 0, scores(2, 6))
    found = accumulator.finish()[0].scores.unflatten(-1, (4, 3))
    assert bool((found[:, :, 2:] == 0).all()) and bool((found[:, :, :2] != 0).all())


def test_a_negative_weight_counts_as_zero() -> None:
    accumulator, counted = ScoreAccumulator((2, 1, 7, 6), (1, 2, 2)), scores(2, 12)
    accumulator.add(accumulator.register(area(range(7), range(6))), 0, counted)
    accumulator.add(accumulator.register(area(range(7), range(6), -1.0)), 0, scores(2, 12))
    torch.testing.assert_close(accumulator.finish()[0].scores, counted.scores)


def test_norms_are_averaged_with_the_total_weight_of_each_region() -> None:
    accumulator = ScoreAccumulator((2, 1, 7, 6), (1, 2, 2))
    first, second = scores(2, 12), scores(2, 4)
    accumulator.add(accumulator.register(area(range(7), range(6))), 0, first)
    accumulator.add(accumulator.register(area(range(4), range(4), 3.0)), 0, second)
    expected = (42 * first.norms + 48 * second.norms) / 90
    torch.testing.assert_close(accumulator.finish()[0].norms, expected)


def test_a_layer_that_a_region_lacks_is_left_out() -> None:
    accumulator = ScoreAccumulator((2, 1, 7, 6), (1, 2, 2))
    first, second = accumulator.register(area(range(7), range(6))), accumulator.register(area(range(7), range(6)))
    accumulator.add(first, 0, scores(2, 12))
    accumulator.add(second, 0, scores(2, 12))
    accumulator.add(first, 1, scores(2, 12))
    assert sorted(accumulator.finish()) == [0]
