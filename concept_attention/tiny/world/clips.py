"""Clips of landscapes in which something moves, with an exact label map for every frame.

World, words and captions are those of images; a caption never says what moves, or where to.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from random import Random

import numpy as np

from ...errors import UserError
from .layout import MARGIN, Setting, Thing, make_things, place_things
from .painting import render
from .scenes import Scene, describe, draw_scene, make_setting

MOVABLE = ("boat", "car", "sun", "moon", "cloud", "balloon")
DRIVING = ("boat", "car")  # move in the direction they face
MOVES = 0.75  # how often a movable thing moves if it is not the only one
TRAVEL = (0.25, 0.55)  # of the image's shorter side, from the first frame to the last
RISE = 0.12  # of the shorter side, the most a balloon rises or sinks
ATTEMPTS = 8  # to place the things so that all are visible in every frame

Motion = tuple[Thing, Thing]  # a thing in the first and in the last frame


@dataclass(frozen=True, eq=False)
class Clip(Scene):
    """One drawn landscape over several frames.

    Attributes:
        moving: labels of the things that move, at least one.
    """

    moving: tuple[str, ...]


def draw_landscape(seed: int, width: int, height: int, frames: int = 1) -> Scene:
    """Draw a scene of one frame, or a clip of several."""
    return draw_scene(seed, width, height) if frames == 1 else draw_clip(seed, width, height, frames)


def draw_clip(seed: int, width: int = 128, height: int = 128, frames: int = 9) -> Clip:
    """Draw a landscape in which one thing or more move evenly in a straight line; the rest does not change.

    Args:
        seed: chooses the clip; the same arguments always give the same one.
        width, height: pixels, multiples of 16, at least 64.
        frames: 2 or more.

    Returns:
        The clip. Everything that is named is visible in every frame.

    Raises:
        UserError: if there are fewer than two frames; see also `make_setting`.
    """
    if frames < 2:
        raise UserError(f"A clip needs at least 2 frames, got {frames}. A scene has one.")
    rng = Random(seed)  # noqa: S311  # reproducible, not secret
    while True:
        setting = make_setting(rng, width, height)
        things = make_things(rng, setting)
        if not any(thing.name in MOVABLE for thing in things):
            continue
        texture_seed = rng.getrandbits(32)
        for _ in range(ATTEMPTS):
            motions = _motions(rng, setting, place_things(rng, setting, things))
            if drawn := _render(setting, motions, texture_seed, frames):
                images, labels, parts = drawn
                moving = tuple(first.name for first, last in motions if first != last)
                return Clip(images, labels, parts, *describe(rng, setting, things, labels), seed, moving)


def _motions(rng: Random, setting: Setting, things: Sequence[Thing]) -> list[Motion]:
    movable = [thing.name for thing in things if thing.name in MOVABLE]
    always = rng.choice(movable)
    moving = [name for name in movable if rng.random() < MOVES or name == always]
    return [_motion(rng, setting, thing) if thing.name in moving else (thing, thing) for thing in things]


def _motion(rng: Random, setting: Setting, thing: Thing) -> Motion:
    """A motion across the image that stays inside it; balloons also rise or sink."""
    left, top, right, bottom = replace(thing, x=0.0, y=0.0).box()
    margin = MARGIN * setting.unit
    low, high = margin - left, setting.width - margin - right
    length = min(rng.uniform(*TRAVEL) * setting.unit, high - low)
    ends = [start := rng.uniform(low, high - length), start + length]
    forwards = not thing.flipped if thing.name in DRIVING else rng.random() < 0.5
    if not forwards:
        ends.reverse()
    first, last = (replace(thing, x=x) for x in ends)
    if thing.name == "balloon":
        y = thing.y + rng.uniform(-RISE, RISE) * setting.unit
        last = replace(last, y=max(margin - top, min(y, setting.horizon - margin - bottom)))
    return first, last


def _render(
    setting: Setting, motions: Sequence[Motion], texture_seed: int, frames: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray] | None:
    """Images and maps of labels and thin parts of all frames; None if something is hidden in one of them."""
    images, labels, parts = {}, {}, {}
    # The ends and the middle come first: there things are most likely to hide each other.
    for frame in sorted(range(frames), key=lambda frame: frame not in (0, frames // 2, frames - 1)):
        done = frame / (frames - 1)
        things = [
            replace(first, x=first.x + done * (last.x - first.x), y=first.y + done * (last.y - first.y))
            for first, last in motions
        ]
        images[frame], labels[frame], hidden, parts[frame] = render(setting, things, texture_seed)
        if hidden:
            return None
    return tuple(np.stack([of[frame] for frame in range(frames)]) for of in (images, labels, parts))  # type: ignore[return-value]
