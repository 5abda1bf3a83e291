"""Summaries: numbers counted by hand, absent concepts named, one concept alone said to be."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
import torch

from concept_attention.concepts import Concept
from concept_attention.heatmaps.heatmaps import Heatmaps
from concept_attention.heatmaps.summary import summarise, summary_text

CONCEPTS = (Concept("sky", "sky"), Concept("moon", "the moon"), Concept("wall", "wall", "background"))


def two_images() -> Heatmaps:
    """Sky wins 3 + 1 of 8 tokens, wall 1 + 2, one is tied; moon wins none and peaks at 0.07."""
    sky = torch.tensor([[0.9, 0.9, 0.9, 0.1], [0.6, 0.2, 0.1, 0.48]])
    moon = torch.tensor([[0.01, 0.01, 0.02, 0.0], [0.07, 0.0, 0.03, 0.04]])
    values = torch.stack([sky, moon, 1 - sky - moon], dim=1).reshape(2, 3, 2, 2)
    values[1, [0, 2], 1, 1] = 0.48
    return Heatmaps(values, CONCEPTS, "share", (32, 32))


def test_numbers_are_those_counted_by_hand() -> None:
    sky, moon, wall = summarise(two_images())
    assert (sky.name, sky.role, wall.role) == ("sky", "concept", "background")
    assert sky.mean_share == pytest.approx((0.9 * 3 + 0.1 + 0.6 + 0.2 + 0.1 + 0.48) / 8)
    assert sky.peak_share == pytest.approx(0.9)
    assert (sky.area, moon.area, wall.area) == (4 / 8, 0, 3 / 8)
    assert (sky.absent, moon.absent, wall.absent) == (False, True, False)
    assert moon.peak_share == pytest.approx(0.07)


def test_a_concept_in_one_image_of_the_batch_is_not_absent() -> None:
    values = torch.full((3, 2, 2, 2), 0.5)
    values[:, 0], values[:, 1] = 0.9, 0.1
    values[2, :, 0, 0] = torch.tensor([0.2, 0.8])
    heatmaps = Heatmaps(values, CONCEPTS[:2], "share", (32, 32))
    assert summarise(heatmaps)[1].absent is None  # as far as that can be known
    background = Heatmaps(values, (CONCEPTS[2], CONCEPTS[1]), "share", (32, 32))
    assert summarise(background)[1].absent is False
    assert summarise(heatmaps)[1].area == pytest.approx(1 / 12)


def test_all_frames_of_a_video_count() -> None:
    still = two_images()
    video = Heatmaps(still.values.transpose(0, 1)[None], CONCEPTS, "share", (32, 32))
    assert summarise(video) == summarise(still)


def test_summaries_survive_json() -> None:
    summaries = [item.as_dict() for item in summarise(two_images())]
    assert json.loads(json.dumps(summaries)) == summaries
    assert set(summaries[0]) == {"name", "role", "mean_share", "peak_share", "area", "absent", "presence"}


def test_the_text_names_absent_concepts() -> None:
    text = summary_text(summarise(two_images()))
    assert "moon: absent (wins no token; peak share 0.07)" in text
    assert "sky: absent" not in text
    assert [line.split()[-1] for line in text.splitlines()[1:4]] == ["50.0%", "0.0%", "37.5%"]
    assert "wall (background)" in text


def of(shares: list[float], concepts: tuple[Concept, ...] = CONCEPTS[:2]) -> Heatmaps:
    """Shares of one token for each number in `shares`, the first concept's; the second has the rest."""
    first = torch.tensor(shares)
    return Heatmaps(torch.stack([first, 1 - first]).reshape(1, 2, 1, -1), concepts, "share", (16, 16 * len(shares)))


def test_without_a_background_nothing_is_known_of_a_concept_that_wins() -> None:
    """Sky and moon are all that was named of a picture of a car: one of them has to win every token."""
    unknown = summarise(of([0.8, 0.3]))
    assert [one.absent for one in unknown] == [None, None]
    text = summary_text(unknown)
    assert "No background: a concept also wins what nobody named, even if it is absent." in text
    assert [one.as_dict()["absent"] for one in unknown] == [None, None]
    assert max(map(len, text.splitlines())) < 80

    beaten = summarise(of([0.8, 0.7]))
    assert [one.absent for one in beaten] == [None, True]

    known = summarise(of([0.8, 0.3], (CONCEPTS[0], CONCEPTS[2])))
    assert [one.absent for one in known] == [False, False]
    assert "No background" not in summary_text(known)


def test_the_text_says_where_the_rest_of_the_shares_is() -> None:
    padded = replace(two_images(), values=two_images().values * 0.05)
    assert "The shares add up to 0.05: padding tokens have the rest." in summary_text(summarise(padded))
    assert "padding" not in summary_text(summarise(two_images()))


def test_columns_line_up_whatever_the_names() -> None:
    concepts = (Concept("ö", "ö"), Concept("a very long name of a concept", "x"))
    heatmaps = Heatmaps(torch.tensor([0.6, 0.4]).reshape(1, 2, 1, 1), concepts, "share", (16, 16))
    header, *rows = summary_text(summarise(heatmaps)).splitlines()[:3]
    assert {len(row) for row in rows} == {len(header)}


def test_figures_stay_behind_a_name_that_is_read_right_to_left() -> None:
    concepts = (Concept("שמים", "sky"), Concept("a house", "house"))
    values = torch.tensor([0.4, 0.6]).reshape(1, 2, 1, 1)
    _, sky, house, absent, *_ = summary_text(summarise(Heatmaps(values, concepts, "share", (16, 16)))).splitlines()
    assert sky == "שמים   \u200e        0.40        0.40    0.0%" and "\u200e" not in house
    assert absent == "שמים\u200e: absent (wins no token; peak share 0.40)"


def test_the_text_says_that_one_concept_alone_is_compared_with_nothing() -> None:
    alone = summarise(Heatmaps(torch.ones(1, 1, 2, 2), CONCEPTS[:1], "share", (32, 32)))
    assert alone[0].area == alone[0].mean_share == 1 and alone[0].absent is None
    assert "sky: the only concept, compared with nothing" in summary_text(alone)
    assert "No background" not in summary_text(alone)
    assert "compared with nothing" not in summary_text(summarise(two_images()))


def test_anything_but_shares_is_refused() -> None:
    heatmaps = two_images()
    scores = Heatmaps(heatmaps.values, CONCEPTS, "score", heatmaps.image_size)
    with pytest.raises(ValueError, match="kind share, got score"):
        summarise(scores)
    with pytest.raises(ValueError, match="no concept to report"):
        summary_text([])
