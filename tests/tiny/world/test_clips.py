"""Drawn clips: what moves, moves evenly and whole; the rest stands still; label maps agree with every frame."""

from __future__ import annotations

import numpy as np
import pytest

from concept_attention.errors import UserError
from concept_attention.tiny.world.clips import DRIVING, MOVABLE, Clip, draw_clip, draw_landscape
from concept_attention.tiny.world.scenes import LABELS, draw_scene, token_coverage

SEEDS = range(24)


@pytest.fixture(scope="module")
def clips() -> list[Clip]:
    return [draw_clip(seed, 128, 96, 5) for seed in SEEDS]


def _middles(clip: Clip, name: str) -> np.ndarray:
    """Column of the middle of what a label covers, in every frame."""
    return np.array([np.nonzero(frame == LABELS.index(name))[1].mean() for frame in clip.labels])


def test_the_same_seed_draws_the_same_clip(clips: list[Clip]) -> None:
    again = draw_clip(3, 128, 96, 5)
    assert np.array_equal(again.image, clips[3].image) and np.array_equal(again.labels, clips[3].labels)
    assert (again.caption, again.words, again.moving) == (clips[3].caption, clips[3].words, clips[3].moving)
    assert again.image.shape == (5, 96, 128, 3) and again.labels.shape == (5, 96, 128)


def test_something_moves_in_every_clip_and_can_be_seen_in_every_frame(clips: list[Clip]) -> None:
    for clip in clips:
        assert clip.moving and set(clip.moving) <= set(MOVABLE) and set(clip.moving) <= set(clip.words)
        for name in clip.words:
            assert all((frame == LABELS.index(name)).mean() > 0.004 for frame in clip.labels), (clip.seed, name)


def test_what_moves_goes_evenly_to_one_side(clips: list[Clip]) -> None:
    for clip in clips:
        for name in clip.moving:
            steps = np.diff(_middles(clip, name))
            assert abs(steps.sum()) > 0.2 * 96, (clip.seed, name)  # of the shorter side; hidden parts move the middle
            assert (np.sign(steps) == np.sign(steps.sum())).mean() > 0.7


def test_what_does_not_move_stays_where_it_is(clips: list[Clip]) -> None:
    still = 0
    for clip in clips:
        moving = np.isin(clip.labels, [LABELS.index(name) for name in clip.moving])
        # Where nothing moving is in any frame, nor a blended edge or the shadow below it, the images are the same.
        near = moving.any(axis=0)
        for _ in range(6):
            padded = np.pad(near, 1)
            near = padded[:-2, 1:-1] | padded[2:, 1:-1] | padded[1:-1, :-2] | padded[1:-1, 2:] | near
        changed = (clip.image != clip.image[:1]).any((0, 3)) & ~near
        assert changed.mean() < 0.001, clip.seed  # a shadow's tip may reach further
        assert (clip.labels == clip.labels[:1])[:, ~near].all()
        still += (~near).mean() > 0.3
    assert still > len(clips) // 2


def test_cars_and_boats_go_where_they_face() -> None:
    directions = {name: set() for name in DRIVING}
    for seed in range(60):
        clip = draw_clip(seed, 64, 64, 2)
        for name in set(clip.moving) & set(DRIVING):
            directions[name].add(float(np.sign(np.diff(_middles(clip, name))[0])))
    assert all(found == {-1.0, 1.0} for found in directions.values())
    # The headlight of a car is in front.
    for seed in range(80):
        clip = draw_clip(seed, 256, 256, 2)
        if clip.moving == ("car",):
            first, label = clip.image[0].astype(int), clip.labels[0] == LABELS.index("car")
            light = label & (np.abs(first - (255, 240, 160)).sum(-1) < 30)
            if light.sum() > 4:
                ahead = np.sign(np.nonzero(light)[1].mean() - _middles(clip, "car")[0])
                assert ahead == np.sign(np.diff(_middles(clip, "car"))[0]), seed
                return
    raise AssertionError("no car by daylight was drawn")


def test_coverage_of_a_clip_is_that_of_its_frames(clips: list[Clip]) -> None:
    coverage = token_coverage(clips[0].labels)
    assert coverage.shape == (len(LABELS), 5, 6, 8)
    for index, frame in enumerate(clips[0].labels):
        np.testing.assert_array_equal(coverage[:, index], token_coverage(frame))


def test_a_landscape_of_one_frame_is_a_scene() -> None:
    assert np.array_equal(draw_landscape(5, 64, 64).image, draw_scene(5, 64, 64).image)
    assert isinstance(draw_landscape(5, 64, 64, 3), Clip)


@pytest.mark.parametrize(
    ("arguments", "message"), [((0, 64, 64, 1), "at least 2 frames, got 1"), ((0, 60, 64, 3), "multiple of 16")]
)
def test_what_cannot_be_drawn_is_an_error(arguments: tuple[int, ...], message: str) -> None:
    with pytest.raises(UserError, match=message):
        draw_clip(*arguments)
