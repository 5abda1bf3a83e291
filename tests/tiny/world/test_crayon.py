"""Scenes in another style: what they show stays, their label maps are bent as the pictures are."""

from __future__ import annotations

import numpy as np
import pytest

from concept_attention.tiny.evaluation.dataset import Landscapes
from concept_attention.tiny.world.crayon import crayon
from concept_attention.tiny.world.scenes import LABELS, Scene, draw_scene
from concept_attention.tiny.world.shapes import THIN


@pytest.fixture(scope="module")
def scenes() -> list[Scene]:
    return [draw_scene(seed, 128, 96) for seed in range(12)]


def test_the_same_scene_is_always_the_same_drawing(scenes: list[Scene]) -> None:
    first, again = crayon(scenes[0]), crayon(scenes[0])
    assert np.array_equal(first.image, again.image) and np.array_equal(first.labels, again.labels)
    assert first.image.shape == (96, 128, 3) and first.image.dtype == first.labels.dtype == np.uint8
    assert (first.caption, first.words) == (scenes[0].caption, scenes[0].words)


def test_lines_stray_a_few_pixels_and_the_label_map_with_them(scenes: list[Scene]) -> None:
    for scene in scenes:
        drawn = crayon(scene)
        moved = float((drawn.labels != scene.labels).mean())
        assert 0 < moved < 0.12 and set(np.unique(drawn.labels)) <= set(np.unique(scene.labels))
    # Colours of a label lie nearer to each other under the bent label map than under the straight one.
    scene, drawn = scenes[0], crayon(scenes[0])
    values = drawn.image.astype(np.float64).mean(axis=-1)

    def spread(labels: np.ndarray) -> float:
        return sum(
            float(((values[labels == one] - values[labels == one].mean()) ** 2).sum()) for one in np.unique(labels)
        )

    assert spread(drawn.labels) < spread(scene.labels)


def test_thin_parts_are_marked_where_their_thing_is(scenes: list[Scene]) -> None:
    owners = {"mast": "boat", "trunk": "tree", "stem": "flower", "basket": "balloon"}
    seen = set()
    for scene in scenes:
        for index in np.unique(scene.parts[scene.parts > 0]):
            place = scene.parts == index
            label = LABELS.index(owners[THIN[index - 1]])
            assert float((scene.labels[place] == label).mean()) > 0.9
            thing = scene.labels == label
            assert place.sum() < 0.6 * thing.sum()
            seen.add(THIN[index - 1])
    assert len(seen) >= 3


def test_the_data_set_has_both_styles_of_the_same_scenes() -> None:
    plain, drawn = Landscapes(5, 64, 8), Landscapes(5, 64, 8, "crayon")
    assert (plain.name, drawn.name) == ("landscapes", "crayon")
    for index in range(8):
        one, other = plain[index], drawn[index]
        assert one.id == other.id and set(other.words) <= set(one.words)
        assert np.abs(np.asarray(one.image, float) - np.asarray(other.image, float)).mean() > 10
        for name, (label, place) in one.thin.items():
            assert name in THIN and place.shape == one.labels.shape and label in one.words
