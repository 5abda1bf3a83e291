"""Finishing masks, against searches pixel by pixel."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from concept_attention.concepts import Concept
from concept_attention.errors import UserError
from concept_attention.heatmaps.finish import drop_islands, fill_holes, grow_masks
from concept_attention.heatmaps.heatmaps import Heatmaps
from concept_attention.heatmaps.masks import make_masks
from concept_attention.heatmaps.resize import gaussian_blur

CORNERS = [(down, right) for down in (-1, 0, 1) for right in (-1, 0, 1) if down or right]
SIDES = [(-1, 0), (1, 0), (0, -1), (0, 1)]
PERCENTS = (0.0, 1.0, 2.5, 10.0, 100.0)


def noise(seed: int, part: float, size: tuple[int, int] = (17, 23)) -> Tensor:
    return (torch.rand(size, generator=torch.Generator().manual_seed(seed)) < part).float()


def parts_of(mask: Tensor, value: float, neighbours: list[tuple[int, int]]) -> list[set[tuple[int, int]]]:
    """Connected areas of one value, by a walk from every pixel."""
    height, width = mask.shape
    left = {(y, x) for y in range(height) for x in range(width) if mask[y, x] == value}
    parts = []
    while left:
        part, open_ends = set(), [left.pop()]
        while open_ends:
            y, x = open_ends.pop()
            part.add((y, x))
            for down, right in neighbours:
                if (y + down, x + right) in left:
                    left.remove((y + down, x + right))
                    open_ends.append((y + down, x + right))
        parts.append(part)
    return parts


def replaced(mask: Tensor, percent: float, value: float, neighbours: list[tuple[int, int]], border: bool) -> Tensor:
    """The mask with its small parts of a value turned into the other value."""
    height, width = mask.shape
    result = mask.clone()
    for part in parts_of(mask, value, neighbours):
        touches = any(y in (0, height - 1) or x in (0, width - 1) for y, x in part)
        if 100 * len(part) < percent * height * width and not (border and touches):
            for y, x in part:
                result[y, x] = 1 - value
    return result


@pytest.mark.parametrize("percent", PERCENTS)
def test_small_holes_are_filled_and_small_islands_dropped(percent: float) -> None:
    masks = torch.stack([noise(0, 0.5), noise(1, 0.7), noise(2, 0.3), torch.zeros(17, 23), torch.ones(17, 23)])
    holes = torch.stack([replaced(mask, percent, 0, SIDES, True) for mask in masks])
    islands = torch.stack([replaced(mask, percent, 1, CORNERS, False) for mask in masks])
    assert torch.equal(fill_holes(masks, percent), holes)
    assert torch.equal(drop_islands(masks, percent), islands)
    assert torch.equal(drop_islands(masks[None], percent), islands[None])


def naive_grown(mask: Tensor, radius: int) -> Tensor:
    height, width = mask.shape
    best = max if radius >= 0 else min
    return torch.tensor(
        [
            [
                best(
                    float(mask[row, column])
                    for row in range(height)
                    for column in range(width)
                    if (row - y) ** 2 + (column - x) ** 2 <= radius**2
                )
                for x in range(width)
            ]
            for y in range(height)
        ]
    )


@pytest.mark.parametrize("radius", [-30, -3, -1, 0, 1, 2, 3, 4, 5, 40])
def test_a_mask_grows_and_shrinks_by_disks(radius: int) -> None:
    soft = torch.rand(9, 13, generator=torch.Generator().manual_seed(4))
    hard = noise(3, 0.1 if radius > 0 else 0.9, (9, 13))
    for mask in (soft, hard):
        assert torch.equal(grow_masks(mask, radius), naive_grown(mask, radius))


def heatmaps(seed: int = 0) -> Heatmaps:
    values = torch.randn(2, 3, 8, 11, generator=torch.Generator().manual_seed(seed)).mul(2).softmax(dim=1)
    return Heatmaps(values, tuple(Concept(name, name) for name in "abc"), "share", (24, 33))


def test_masks_are_finished_in_order() -> None:
    maps = heatmaps()
    plain = make_masks(maps, "a", "threshold", threshold=0.3)
    expected = gaussian_blur(grow_masks(drop_islands(fill_holes(plain, 2.0), 3.0), 2), 1.5)
    made = make_masks(maps, "a", "threshold", threshold=0.3, holes=2.0, islands=3.0, grow=2, blur=1.5)
    assert torch.equal(made, expected) and not torch.equal(made, gaussian_blur(plain, 1.5))


@pytest.mark.parametrize("method", ["soft", "threshold", "argmax"])
def test_a_concept_can_be_subtracted(method: str) -> None:
    maps = heatmaps()
    options = {"method": method, "threshold": 0.2}
    together, taken = (make_masks(maps, names, **options) for names in (["a", "b"], "c"))  # type: ignore[arg-type]
    made = make_masks(maps, ["a", "b"], subtract="c", **options)  # type: ignore[arg-type]
    assert torch.equal(made, (together - taken).clamp_min(0))


def test_soft_masks_have_neither_holes_nor_islands() -> None:
    maps = heatmaps()
    assert torch.equal(make_masks(maps, "a", holes=100.0, islands=100.0), make_masks(maps, "a"))


def test_what_cannot_be_done_is_said() -> None:
    with pytest.raises(UserError, match="a is both masked and subtracted. Leave it out"):
        make_masks(heatmaps(), ["b", "a"], subtract=["a"])
    with pytest.raises(UserError, match="Islands to drop are given in percent of the image, 0 to 100; got 101."):
        make_masks(heatmaps(), "a", "argmax", islands=101)
    with pytest.raises(UserError, match="Holes to fill are given in percent of the image, 0 to 100; got -1."):
        make_masks(heatmaps(), "a", "argmax", holes=-1)
