"""The drawn landscapes: repeatable, true to their captions, with label maps that match the images."""

from __future__ import annotations

import re
from functools import lru_cache
from itertools import combinations
from random import Random

import numpy as np
import pytest

from concept_attention.errors import UserError
from concept_attention.tiny.world.captions import MAX_WORDS
from concept_attention.tiny.world.contents import RGB
from concept_attention.tiny.world.layout import Setting, Thing, make_things, place_things
from concept_attention.tiny.world.painting import SCALE, render
from concept_attention.tiny.world.scenes import (
    COLORS,
    GROUNDS,
    LABELS,
    OBJECTS,
    SKY,
    Scene,
    draw_scene,
    make_setting,
    token_coverage,
    vocabulary,
)
from concept_attention.tiny.world.shapes import SHAPES, rectangle

SEEDS = range(400)
CHROMATIC = ("red", "blue", "yellow", "green", "orange", "purple")


@lru_cache(maxsize=1)
def scenes() -> tuple[Scene, ...]:
    return tuple(draw_scene(seed, 96, 96) for seed in SEEDS)


def setting_of(seed: int, side: int) -> Setting:
    return make_setting(Random(seed), side, side)  # noqa: S311 - reproducible, not secret


def areas(scene: Scene) -> dict[str, float]:
    return {name: float((scene.labels == index).mean()) for index, name in enumerate(LABELS)}


def words_of(text: str) -> list[str]:
    return re.findall(r"[a-z]+", text)


def pixels(scene: Scene, label: str) -> np.ndarray:
    return scene.image[scene.labels == LABELS.index(label)].astype(int)


def nearest_colors(rgb: np.ndarray) -> dict[str, float]:
    """Share of the pixels that lie nearest to each named colour."""
    distance = [((rgb - np.array(RGB[name])) ** 2).sum(-1) for name in COLORS]
    return dict(zip(COLORS, np.bincount(np.argmin(distance, 0), minlength=len(COLORS)) / len(rgb), strict=True))


def test_the_same_seed_and_size_draw_the_same_scene() -> None:
    first, second = draw_scene(7, 128, 96), draw_scene(7, 128, 96)
    assert np.array_equal(first.image, second.image) and np.array_equal(first.labels, second.labels)
    assert (first.caption, first.words, first.phrases) == (second.caption, second.words, second.phrases)
    assert not np.array_equal(first.image, draw_scene(8, 128, 96).image)


@pytest.mark.parametrize(("width", "height"), [(64, 64), (256, 256), (384, 256), (144, 320), (1024, 128)])
def test_scenes_have_the_size_asked_for(width: int, height: int) -> None:
    for seed in range(12):
        scene = draw_scene(seed, width, height)
        assert scene.image.shape == (height, width, 3) and scene.image.dtype == np.uint8
        assert scene.labels.shape == (height, width) and scene.labels.dtype == np.uint8
        assert 3 <= len(scene.words) <= 5


@pytest.mark.parametrize(("width", "height", "side"), [(250, 256, "width"), (256, 48, "height"), (0, 64, "width")])
def test_sizes_that_tokens_do_not_divide_are_refused(width: int, height: int, side: str) -> None:
    with pytest.raises(UserError, match=f"Scene {side} must be a multiple of 16, at least 64"):
        draw_scene(0, width, height)


def test_objects_spread_over_the_width_of_wide_images() -> None:
    columns = []
    for seed in range(150):
        scene = draw_scene(seed, 256, 64)
        columns += [np.nonzero(scene.labels == LABELS.index(w))[1].mean() / 256 for w in scene.words if w in OBJECTS]
    shares = np.histogram(columns, bins=4, range=(0, 1))[0] / len(columns)
    assert shares.min() > 0.15


def test_words_are_exactly_the_visible_labels() -> None:
    for scene in scenes():
        visible = {name for name, area in areas(scene).items() if area > 0}
        assert set(scene.words) == visible and len(scene.words) == len(visible)
        assert set(scene.phrases) == visible
        assert all(area == 0 or area >= 0.006 for area in areas(scene).values())


def test_every_scene_has_sky_one_ground_and_one_to_three_objects() -> None:
    for scene in scenes():
        area = areas(scene)
        assert area[SKY] > 0.1
        assert [area[ground] > 0.05 for ground in GROUNDS].count(True) == 1
        assert 1 <= sum(word in OBJECTS for word in scene.words) <= 3


def test_words_come_in_random_order() -> None:
    firsts = {scene.words[0] for scene in scenes()}
    assert len(firsts & set(OBJECTS)) > 6 and SKY in firsts


def test_objects_appear_only_where_they_belong() -> None:
    for scene in scenes():
        words = set(scene.words)
        assert "boat" not in words or "water" in words
        assert not ("water" in words and words & {"house", "tree", "car", "flower"})
        assert not {"sun", "moon"} <= words
        assert not ("sun" in words and pixels(scene, SKY).mean() < 70), "no sun at night"


def test_every_object_and_ground_occurs_often() -> None:
    counts = {name: sum(name in scene.words for scene in scenes()) for name in LABELS}
    assert min(counts.values()) > 0.1 * len(SEEDS)


def test_captions_name_only_visible_things_and_stay_short() -> None:
    for scene in scenes():
        words = words_of(scene.caption)
        assert scene.caption == scene.caption.lower() and len(words) <= MAX_WORDS
        assert {word for word in words if word in LABELS} <= set(scene.words)
        assert {word for word in words if word in OBJECTS} == {word for word in scene.words if word in OBJECTS}
        assert not re.search(r"\ba [aeiou]|\ban [^aeiou]|  | ,", scene.caption)


def test_some_captions_are_short_and_leave_the_sky_out() -> None:
    short = re.compile(rf"an? .+ (on|over) ({'|'.join(GROUNDS)})")
    found = [scene for scene in scenes() if "sky" not in scene.caption and short.fullmatch(scene.caption)]
    assert len(found) > 0.08 * len(SEEDS)
    assert not any({"mountain", "water"} <= set(scene.words) and "on water" in scene.caption for scene in found)


def test_captions_use_the_phrases() -> None:
    for scene in scenes():
        for label, phrase in scene.phrases.items():
            assert label in phrase.split()
            if label in words_of(scene.caption):
                assert phrase in scene.caption


def test_vocabulary_is_exactly_what_captions_and_phrases_use() -> None:
    used = set()
    for seed in range(1200):
        scene = draw_scene(seed, 64, 64)
        used |= set(words_of(" ".join((scene.caption, *scene.phrases.values()))))
    assert vocabulary() == tuple(sorted(used))


def test_named_times_of_day_are_true() -> None:
    named = {"night": 0, "sunset": 0, "day": 0}
    for scene in scenes():
        words = words_of(scene.caption)
        top, bottom = pixels(scene, SKY)[:40].mean(0), pixels(scene, SKY)[-40:].mean(0)
        if "night" in words:
            assert top.max() < 100
        elif "sunset" in words:
            assert bottom[0] > bottom[2] + 20
        elif "day" in words or "blue sky" in scene.caption:
            assert top[2] > top[0] + 60 and top[2] > 180
        for word in named:
            named[word] += word in words
    assert min(named.values()) > 5


def test_what_a_caption_leaves_unsaid_is_the_day() -> None:
    unsaid = [scene for scene in scenes() if not {"night", "sunset", "moon"} & set(words_of(scene.caption))]
    times = [setting_of(scene.seed, 96).time for scene in unsaid]
    assert set(times) == {"day"} and len(times) > 0.3 * len(SEEDS)
    others = [setting_of(seed, 96).time for seed in SEEDS]
    assert others.count("night") > 0.2 * len(SEEDS) and others.count("sunset") > 0.1 * len(SEEDS)


def test_named_colors_are_the_drawn_colors() -> None:
    checked = 0
    for scene in scenes():
        for label, phrase in scene.phrases.items():
            color = phrase.split()[0]
            if label in OBJECTS and color != label:
                shares = nearest_colors(pixels(scene, label))
                assert shares[color] > 0.12, (scene.seed, phrase, shares)
                if color in CHROMATIC:
                    assert color == max(CHROMATIC, key=shares.__getitem__), (scene.seed, phrase, shares)
                checked += 1
    assert checked > 100


def test_about_half_of_the_captions_name_colors() -> None:
    colorable = [s for s in scenes() if {"car", "house", "balloon", "boat", "flower"} & set(s.words)]
    naming = [s for s in colorable if any(" " in s.phrases[w] for w in s.words if w in OBJECTS)]
    assert 0.4 < len(naming) / len(colorable) < 0.7


@pytest.mark.parametrize("name", OBJECTS)
def test_nothing_comes_in_two_forms(name: str) -> None:
    """Else a small model draws their mean."""
    color = RGB["red"]
    forms = [
        SHAPES[name](Random(seed), color, night)  # noqa: S311 - reproducible, not secret
        for seed in range(20)
        for night in (False, True)
    ]
    assert len({tuple((part.kind, len(part.points)) for part in form) for form in forms}) == 1
    if name not in ("mountain", "cloud"):  # those differ in their proportions, and only in them
        assert len({tuple(part.points for part in form) for form in forms}) == 1


def test_mountains_stand_out_against_the_night_sky() -> None:
    checked = 0
    for seed in range(200):
        scene = draw_scene(seed, 128, 128)
        if "mountain" in scene.words and setting_of(seed, 128).time == "night":
            shaded, horizon = (
                np.percentile(pixels(scene, label).mean(1), share) for label, share in (("mountain", 20), (SKY, 80))
            )
            assert shaded > horizon + 35, (seed, shaded, horizon)
            checked += 1
    assert checked > 10


def test_clouds_keep_clear_of_the_horizon() -> None:
    """A low one looks like a snowy hill."""
    checked = 0
    for scene in scenes():
        if "cloud" in scene.words:
            horizon = setting_of(scene.seed, 96).horizon / SCALE
            lowest = np.nonzero(scene.labels == LABELS.index("cloud"))[0].max()
            assert lowest < horizon - 0.08 * 96, (scene.seed, lowest, horizon)
            checked += 1
    assert checked > 40


def test_snow_is_white_at_night_too() -> None:
    colors = [
        np.median(pixels(scene, "snow"), 0)
        for scene in scenes()
        if "snow" in scene.words and setting_of(scene.seed, 96).time == "night"
    ]
    assert len(colors) > 10 and np.min(colors) > 185


@pytest.mark.parametrize("time", ["day", "sunset", "night"])
def test_trees_stand_out_against_the_grass(time: str) -> None:
    distances = []
    for scene in scenes():
        if {"tree", "grass"} <= set(scene.words) and setting_of(scene.seed, 96).time == time:
            tree = pixels(scene, "tree")
            needles = np.median(tree[tree[:, 1] > tree[:, 0]], 0)  # not the trunk
            distances.append(np.linalg.norm(needles - np.median(pixels(scene, "grass"), 0)))
    assert len(distances) > 3 and min(distances) > 35, distances


@pytest.mark.parametrize("time", ["day", "sunset", "night"])
@pytest.mark.parametrize("ground", GROUNDS)
def test_every_ground_can_be_told_from_the_sky_above_it(ground: str, time: str) -> None:
    distances = []
    for scene in scenes():
        setting = setting_of(scene.seed, 96)
        if (setting.ground, setting.time) == (ground, time):
            rows = [setting.horizon // SCALE + offset for offset in (-2, 2)]
            above, below = (
                scene.image[row][scene.labels[row] == LABELS.index(label)]
                for row, label in zip(rows, (SKY, ground), strict=True)
            )
            if len(above) and len(below):  # nothing stands before the whole horizon
                distances.append(np.linalg.norm(np.median(above, 0) - np.median(below, 0)))
    assert len(distances) > 3 and min(distances) > 35, distances


def test_labels_lie_where_the_sun_is_painted() -> None:
    checked = 0
    for seed in range(80):
        scene = draw_scene(seed, 128, 128)
        if set(scene.words) <= {SKY, "sun", "water", "snow", "mountain"} and "sun" in scene.words:
            r, g, b = np.moveaxis(scene.image.astype(int), -1, 0)
            yellow = (r > 150) & (g > b) & (r - b > 30)
            labelled = scene.labels == LABELS.index("sun")
            if pixels(scene, SKY)[:, 2].mean() > 200:  # by day nothing else there is yellow
                assert (yellow & labelled).sum() > 0.93 * (yellow | labelled).sum()
                checked += 1
    assert checked >= 2


def test_things_stand_apart_where_there_is_room() -> None:
    common, near = [], []
    for seed in range(300):
        rng = Random(seed)  # noqa: S311 - reproducible, not secret
        setting = make_setting(rng, 256, 256)
        things = [thing for thing in place_things(rng, setting, make_things(rng, setting)) if thing.name != "mountain"]
        for boxes in combinations((thing.box() for thing in things), 2):
            (left, top, right, bottom), areas = zip(*boxes, strict=True), [(r - x) * (b - y) for x, y, r, b in boxes]
            across, down = min(right) - max(left), min(bottom) - max(top)
            common.append(max(0.0, across) * max(0.0, down) > 0.04 * min(areas))
            near.append(max(-across, -down) < 0.05 * setting.unit)
    assert len(common) > 300 and np.mean(common) < 0.18 and np.mean(near) < 0.4


def test_an_object_behind_another_counts_as_hidden() -> None:
    setting = Setting(256, 256, 150, "day", "grass")
    block = (rectangle(RGB["red"], -0.2, -0.4, 0.2, 0.0),)
    car = Thing("car", "red", block, 256.0, False, x=100.0, y=200.0)
    beside = Thing("rock", None, block, 256.0, False, x=200.0, y=210.0)
    in_front = Thing("rock", None, block, 256.0, False, x=120.0, y=210.0)
    assert render(setting, [car, beside], seed=0)[2] == set()
    assert render(setting, [car, in_front], seed=0)[2] == {"car"}
    assert render(setting, [Thing("car", "red", block, 20.0, False, x=100.0, y=200.0)], seed=0)[2] == {"car"}


def test_objects_too_small_to_be_seen_are_neither_drawn_nor_named() -> None:
    long_scenes = [draw_scene(seed, 1024, 64) for seed in range(40)]
    bare = [scene for scene in long_scenes if len(scene.words) == 2]
    assert bare
    for scene in long_scenes:
        assert set(scene.words) == {name for name, area in areas(scene).items() if area > 0}
    for scene in bare:
        ground = next(word for word in scene.words if word in GROUNDS)
        assert scene.caption == f"{ground} and {scene.phrases[SKY]}"


def test_token_coverage_matches_counting_pixel_by_pixel() -> None:
    labels = draw_scene(3, 96, 64).labels
    expected = np.zeros((len(LABELS), 4, 6))
    for y in range(64):
        for x in range(96):
            expected[labels[y, x], y // 16, x // 16] += 1 / 256
    coverage = token_coverage(labels)
    assert coverage.dtype == np.float32
    np.testing.assert_allclose(coverage, expected, atol=1e-6)
    np.testing.assert_allclose(coverage.sum(0), 1, atol=1e-6)
    assert token_coverage(labels, patch=8).shape == (len(LABELS), 8, 12)


def test_token_coverage_refuses_a_patch_that_does_not_fit() -> None:
    with pytest.raises(ValueError, match="multiples of 16"):
        token_coverage(np.zeros((40, 64), np.uint8))
