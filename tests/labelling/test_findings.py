"""What is found in a picture, against `make_masks` and against numbers counted by hand."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from concept_attention.choices import METHODS, Method
from concept_attention.concepts import parse_concepts
from concept_attention.heatmaps.heatmaps import Heatmaps
from concept_attention.heatmaps.masks import make_masks
from concept_attention.labelling.findings import Maps, find, finding, presences
from concept_attention.labelling.settings import MaskSettings

CONCEPTS = parse_concepts("red, green, blue", background="grey")


def heatmaps(seed: int = 0, levels: int = 0) -> Heatmaps:
    """Shares of 4 x 6 tokens over an image of 40 x 50 pixels; with `levels`, of few values, so that many are level."""
    values = torch.rand(1, 4, 4, 6, generator=torch.Generator().manual_seed(seed))
    values = (values * levels).ceil() if levels else values
    return Heatmaps(values / values.sum(dim=1, keepdim=True), CONCEPTS, "share", (4, 6) if levels else (40, 50))


@pytest.mark.parametrize("method", METHODS)
def test_masks_are_those_of_make_masks(method: Method) -> None:
    maps = heatmaps()
    findings, together = find(
        Maps(maps, presences(maps)), MaskSettings(("red", "blue"), method, threshold=0.3, percentile=70, blur=1.5)
    )
    options = {"threshold": 0.3, "percentile": 70.0, "blur": 1.5}
    for found in findings:
        expected = make_masks(maps, found.name, method, **options)[0]
        np.testing.assert_array_equal(found.mask, (expected * 255).round().byte())
    both = make_masks(maps, ["red", "blue"], method, **options)[0]
    np.testing.assert_array_equal(together, (both * 255).round().byte())


@pytest.mark.parametrize("levels", [0, 1, 2, 3])
def test_the_highest_share_wins_and_nobody_wins_a_tie(levels: int) -> None:
    for seed in range(20):
        maps = heatmaps(seed, levels)
        findings, together = find(Maps(maps, presences(maps)), MaskSettings(("red", "green")))
        for found in findings:
            np.testing.assert_array_equal(found.mask > 0, make_masks(maps, found.name, "argmax")[0] > 0)
        np.testing.assert_array_equal(together > 0, make_masks(maps, ["red", "green"], "argmax")[0] > 0)


def test_boxes_and_areas_count_pixels() -> None:
    mask = np.zeros((5, 8), np.uint8)
    mask[1:3, 2:7] = 200
    mask[4, 0] = 100  # less than half
    found = finding("dog", 0.75, mask)
    assert (found.box, found.area) == ((2, 1, 5, 2), 10 / 40)
    assert finding("dog", 0.0, np.zeros((5, 8), np.uint8)).box is None


def test_presence_is_the_greatest_share_of_what_wins_somewhere() -> None:
    values = torch.tensor([[[[0.6, 0.1]], [[0.3, 0.4]], [[0.05, 0.0]], [[0.05, 0.5]]]])
    maps = Heatmaps(values, CONCEPTS, "share", (16, 32))
    assert presences(maps) == pytest.approx({"red": 0.6, "green": 0.0, "blue": 0.0, "grey": 0.5})
    assert presences(maps, [0.9, 0.8, 0.7, 0.6]) == {"red": 0.9, "green": 0.0, "blue": 0.0, "grey": 0.6}
    findings, together = find(Maps(maps, presences(maps)), MaskSettings(("red", "green"), min_presence=0.1))
    assert [one.name for one in findings] == ["red"]
    assert together is findings[0].mask
    assert find(Maps(maps, presences(maps)), MaskSettings(("green",), min_presence=0.1))[0] == ()
