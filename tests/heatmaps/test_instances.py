"""Separate things in heatmaps, against areas that were drawn."""

from __future__ import annotations

import pytest
import torch

from concept_attention.concepts import parse_concepts
from concept_attention.errors import UserError
from concept_attention.heatmaps.heatmaps import Heatmaps
from concept_attention.heatmaps.instances import find_instances, opposing_points

NAMES = parse_concepts("boat, tree")


def drawn(kind: str = "presence", video: bool = False) -> Heatmaps:
    """Two boats, the second larger and brighter, and a tree at the right border; one pixel per token."""
    values = torch.full((1, 2, 8, 12), 0.1)
    values[0, 0, 1:3, 1:3] = 0.8
    values[0, 0, 4:7, 4:9] = 0.9
    values[0, 0, 5, 6] = 0.99
    values[0, 1, 0:5, 11] = 0.7
    values = values[:, :, None].expand(1, 2, 3, 8, 12) if video else values
    return Heatmaps(values.contiguous(), NAMES, kind, (8, 12))  # type: ignore[arg-type]


def test_each_connected_area_has_its_box_its_peak_and_its_mask_the_largest_first() -> None:
    found = find_instances(drawn(), ["boat"])
    assert [one.box for one in found] == [(4, 4, 5, 3), (1, 1, 2, 2)]
    assert found[0].point == (6, 5) and found[1].mask[found[1].point[1], found[1].point[0]]
    assert [one.score for one in found] == pytest.approx([(14 * 0.9 + 0.99) / 15, 0.8], abs=1e-5)
    expected = torch.zeros(8, 12, dtype=torch.bool)
    expected[4:7, 4:9] = True
    assert torch.equal(found[0].mask, expected)


def test_padding_stays_within_the_image() -> None:
    (tree,) = find_instances(drawn(), ["tree"], padding=2)
    assert tree.box == (9, 0, 3, 7)


def test_small_areas_and_those_beyond_the_limit_are_left_out() -> None:
    assert len(find_instances(drawn(), ["boat"], least=10)) == 1
    assert len(find_instances(drawn(), ["boat"], most=1)) == 1
    assert find_instances(drawn(), ["boat"], threshold=0.995) == []


def test_every_frame_of_a_video_is_searched() -> None:
    found = find_instances(drawn(video=True), ["tree"])
    assert [(one.frame, one.box) for one in found] == [(frame, (11, 0, 1, 5)) for frame in range(3)]


def test_an_area_that_touches_at_a_corner_is_one() -> None:
    values = torch.zeros(1, 2, 4, 4)
    values[0, 0, 0, 0] = values[0, 0, 1, 1] = 1
    assert len(find_instances(Heatmaps(values, NAMES, "share", (4, 4)), ["boat"], least=0)) == 1


def test_the_other_concepts_give_the_points_that_a_detector_must_leave_out() -> None:
    assert opposing_points(drawn(), ["boat"], 0, 0, 0.5) == [(11, 2)]
    assert opposing_points(drawn(), ["boat"], 0, 0, 0.8) == []
    assert opposing_points(drawn(), ["boat", "tree"], 0, 0, 0.5) == []


def test_raw_scores_have_no_boxes() -> None:
    with pytest.raises(UserError, match="kind share or presence, got kind stretched"):
        find_instances(drawn("stretched"), ["boat"])
    with pytest.raises(UserError, match="0 to 1; got 1.5"):
        find_instances(drawn(), ["boat"], threshold=1.5)
