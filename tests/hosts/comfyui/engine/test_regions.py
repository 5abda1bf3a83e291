"""Parts of a latent put together, cell by cell against loops."""

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


def scores(batch: int, tokens: int, concepts: int = 2, pads: bool = False) -> LayerScores:
    return LayerScores(
        torch.randn(batch, concepts, tokens, generator=GENERATOR),
        torch.rand(batch, concepts, generator=GENERATOR) + 1,
        torch.randn(batch, tokens, generator=GENERATOR) if pads else None,
    )


def area(rows: range, columns: range, weight: Any = 1.0, batch: range = range(2)) -> Region:
    return Region((batch, range(1), rows, columns), weight)


def naive_paste(canvas: ScoreAccumulator, places: list[Region], parts: list[LayerScores], what: str) -> Tensor:
    """Mean over the cells of each token, and the parts that cover them, (B, C, N)."""
    values = [part.scores if what == "scores" else part.pads[:, None] for part in parts]  # type: ignore[index]
    batch, *size = canvas.size
    grid = latent_to_tokens(size, canvas.patch)
    result = torch.zeros(batch, values[0].shape[1], math.prod(grid), dtype=torch.float64)
    for b, c, token in itertools.product(range(batch), range(values[0].shape[1]), range(math.prod(grid))):
        total = count = 0.0
        at = (token // (grid[1] * grid[2]), token // grid[2] % grid[1], token % grid[2])
        spans = [range(p * i, min(p * i + p, n)) for i, p, n in zip(at, canvas.patch, size, strict=True)]
        for cell in itertools.product(*spans):
            for place, part in zip(places, values, strict=True):
                if b not in place.cells[0] or any(i not in axis for i, axis in zip(cell, place.cells[1:], strict=True)):
                    continue
                own = [list(axis).index(i) for i, axis in zip((b, *cell), place.cells, strict=True)]
                weight = place.weight if isinstance(place.weight, float) else float(place.weight[tuple(own)])
                own_grid = latent_to_tokens([len(axis) for axis in place.cells[1:]], canvas.patch)
                t, h, w = (i // p for i, p in zip(own[1:], canvas.patch, strict=True))
                value = float(part[own[0], c, (t * own_grid[1] + h) * own_grid[2] + w])
                total, count = total + weight * value, count + weight
        result[b, c, token] = total / count if count else 0.0
    return result


def tokens_of(place: Region, patch: tuple[int, int, int]) -> int:
    return math.prod(latent_to_tokens([len(axis) for axis in place.cells[1:]], patch))


WEIGHTS = torch.rand(2, 1, 5, 4, generator=GENERATOR)
HALF = torch.cat([torch.zeros(2, 1, 5, 2), torch.ones(2, 1, 5, 2)], dim=-1)
CASES = {
    "two prompts": [area(range(7), range(6)), area(range(7), range(6), 0.25)],
    "aligned area": [area(range(7), range(6)), area(range(2, 6), range(2, 6))],
    "area between tokens": [area(range(7), range(6)), area(range(1, 6), range(1, 5), WEIGHTS)],
    "holes": [area(range(2, 7), range(1, 5), HALF)],
    "no weight at all": [area(range(7), range(6), 0.0)],
    "windows of the batch": [area(range(7), range(6), batch=range(1)), area(range(7), range(6), batch=range(2))],
    "one picture of two": [area(range(7), range(6), batch=range(1, 2))],
    "columns that wrap around": [Region((range(2), range(1), range(7), [4, 5, 0, 1])), area(range(7), range(1, 5))],
}


@pytest.mark.parametrize("pads", [False, True])
@pytest.mark.parametrize("places", CASES.values(), ids=CASES.keys())
def test_parts_are_averaged_cell_by_cell(places: list[Region], pads: bool) -> None:
    canvas = ScoreAccumulator((2, 1, 7, 6), (1, 2, 2))
    layers = {}
    for layer in (0, 3):
        layers[layer] = [scores(len(place.cells[0]), tokens_of(place, canvas.patch), pads=pads) for place in places]
    numbers = [canvas.expect(place) for place in places]
    for layer, parts in layers.items():
        for number, part in zip(numbers, parts, strict=True):
            canvas.add(number, layer, part)
    finished = canvas.finish()
    assert sorted(finished) == [0, 3]
    for layer, parts in layers.items():
        expected = naive_paste(canvas, places, parts, "scores")
        torch.testing.assert_close(finished[layer].scores.double(), expected, atol=1e-5, rtol=1e-5)
        assert (finished[layer].pads is None) == (not pads)
        if pads:
            expected = naive_paste(canvas, places, parts, "pads")[:, 0]
            torch.testing.assert_close(finished[layer].pads.double(), expected, atol=1e-5, rtol=1e-5)


def test_a_video_is_put_together_frame_by_frame() -> None:
    canvas = ScoreAccumulator((1, 3, 4, 4), (2, 2, 2))
    places = [
        Region((range(1), range(0, 2), range(4), range(4))),
        Region((range(1), range(1, 3), range(4), range(4)), 2.0),
    ]
    parts = [scores(1, tokens_of(place, canvas.patch)) for place in places]
    for place, part in zip(places, parts, strict=True):
        canvas.add(canvas.expect(place), 0, part)
    expected = naive_paste(canvas, places, parts, "scores")
    torch.testing.assert_close(canvas.finish()[0].scores.double(), expected, atol=1e-5, rtol=1e-5)


def test_one_prompt_for_the_whole_is_handed_on_untouched() -> None:
    canvas, whole = ScoreAccumulator((2, 1, 7, 6), (1, 2, 2)), scores(2, 12, pads=True)
    canvas.add(canvas.expect(area(range(7), range(6), 0.3)), 1, whole)
    assert canvas.finish()[1] is whole


def test_where_nothing_counts_every_concept_scores_zero() -> None:
    canvas = ScoreAccumulator((2, 1, 7, 6), (1, 2, 2))
    canvas.add(canvas.expect(area(range(4), range(6))), 0, scores(2, 6))
    found = canvas.finish()[0].scores.unflatten(-1, (4, 3))
    assert bool((found[:, :, 2:] == 0).all()) and bool((found[:, :, :2] != 0).all())


def test_a_negative_weight_counts_as_none() -> None:
    canvas, kept = ScoreAccumulator((2, 1, 7, 6), (1, 2, 2)), scores(2, 12)
    canvas.add(canvas.expect(area(range(7), range(6))), 0, kept)
    canvas.add(canvas.expect(area(range(7), range(6), -1.0)), 0, scores(2, 12))
    torch.testing.assert_close(canvas.finish()[0].scores, kept.scores)


def test_norms_are_averaged_by_the_weight_of_the_parts() -> None:
    canvas = ScoreAccumulator((2, 1, 7, 6), (1, 2, 2))
    first, second = scores(2, 12), scores(2, 4)
    canvas.add(canvas.expect(area(range(7), range(6))), 0, first)
    canvas.add(canvas.expect(area(range(4), range(4), 3.0)), 0, second)
    expected = (42 * first.norms + 48 * second.norms) / 90
    torch.testing.assert_close(canvas.finish()[0].norms, expected)


def test_a_layer_that_a_part_lacks_is_left_out() -> None:
    canvas = ScoreAccumulator((2, 1, 7, 6), (1, 2, 2))
    first, second = canvas.expect(area(range(7), range(6))), canvas.expect(area(range(7), range(6)))
    canvas.add(first, 0, scores(2, 12))
    canvas.add(second, 0, scores(2, 12))
    canvas.add(first, 1, scores(2, 12))
    assert sorted(canvas.finish()) == [0]
