"""Close-ups and pairs name what they show, and only that."""

from __future__ import annotations

import numpy as np
import pytest

from concept_attention.errors import UserError
from concept_attention.tiny.world.scenes import LABELS, Scene, draw_scene, vocabulary
from concept_attention.tiny.world.views import View, draw_view

SIZE = 96


@pytest.fixture(scope="module")
def views() -> list[Scene]:
    return [draw_view(seed, SIZE, SIZE) for seed in range(60)]


def _shown(scene: Scene, area: float = 0.0) -> set[str]:
    covered = np.bincount(scene.labels.ravel(), minlength=len(LABELS)) / scene.labels.size
    return {LABELS[index] for index in np.flatnonzero(covered > area)}


def test_all_have_the_size_asked_for(views: list[Scene]) -> None:
    for view in views:
        assert view.image.shape == (SIZE, SIZE, 3) and view.labels.shape == view.parts.shape == (SIZE, SIZE)


def test_words_are_those_of_what_is_seen(views: list[Scene]) -> None:
    for view in views:
        assert _shown(view, 0.02) <= set(view.words) <= _shown(view)
        assert set(view.phrases) == set(view.words)
        assert set(view.caption.replace(",", " ").split()) <= set(vocabulary())


def test_some_show_no_sky_and_some_show_two_grounds(views: list[Scene]) -> None:
    grounds = [len({"grass", "sand", "water", "snow"} & set(view.words)) for view in views]
    assert 2 in grounds and any("sky" not in view.words for view in views)


def test_a_pair_has_the_halves_of_two_pictures_and_the_words_of_both(views: list[Scene]) -> None:
    pairs = [view for view in views if isinstance(view, View) and len(view.pictures) == 2]
    assert 18 < len(pairs) < 42
    for pair in pairs:
        left, right = pair.pictures
        assert np.array_equal(pair.image, np.concatenate([left.image, right.image], axis=1))
        assert set(pair.words) == {*left.words, *right.words}
        for half in pair.pictures:
            assert _shown(half, 0.03) <= set(half.words) <= _shown(half)


def test_most_others_are_whole_landscapes_and_the_rest_close_ups(views: list[Scene]) -> None:
    singles = [view for view in views if not isinstance(view, View) or len(view.pictures) == 1]
    close = [view for view in singles if isinstance(view, View)]
    assert 0 < len(close) < len(singles) / 2
    for view in singles:
        assert isinstance(view, View) != np.array_equal(view.image, draw_scene(view.seed, SIZE, SIZE).image)


def test_the_same_seed_gives_the_same_picture() -> None:
    for seed in range(4):
        first, second = (draw_view(seed, 64, 80) for _ in "ab")
        assert np.array_equal(first.image, second.image) and first.caption == second.caption


def test_clips_are_refused() -> None:
    with pytest.raises(UserError, match="1 frame"):
        draw_view(0, 64, 64, 3)
