"""Landscapes in which something moves: frames with an exact label map each.

The same world, words and captions as a picture's; nothing in a caption tells what moves, or where to.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from random import Random

import numpy as np

from .layout import MARGIN, Setting, Thing, make_things, place
from .painting import render
from .scenes import Scene, draw_scene, make_setting, tell

MOVABLE = ("boat", "car", "sun", "moon", "cloud", "balloon")
DRIVING = ("boat", "car")  # these go where they face
MOVES = 0.75  # how often a movable thing moves where it is not the only one
TRAVEL = (0.25, 0.55)  # of the picture's shorter side, from the first frame to the last
RISE = 0.12  # of the shorter side, the most a balloon rises or sinks
ATTEMPTS = 8  # to place what a landscape shows so that all of it can be seen in every frame

Path = tuple[Thing, Thing]  # a thing in the first frame and in the last


@dataclass(frozen=True, eq=False)
class Clip(Scene):
    """One drawn landscape over some frames.

    Attributes:
        moving: labels of the things that move, one at least.
    """

    moving: tuple[str, ...]


def draw_landscape(seed: int, width: int, height: int, frames: int = 1) -> Scene:
    """A scene, as `draw_scene` draws it; of more than one frame a clip."""
    return draw_scene(seed, width, height) if frames == 1 else draw_clip(seed, width, height, frames)


def draw_clip(seed: int, width: int = 128, height: int = 128, frames: int = 9) -> Clip:
    """Draw a landscape in which one thing or more move evenly, in a straight line; the rest stays as it is.

    Args:
        seed: chooses the clip; the same arguments always give the same one.
        width, height: pixels, multiples of 16, at least 64.
        frames: 2 or more.

    Returns:
        The clip. Everything that is named can be seen in every frame.

    Raises:
        ValueError: for sides as `make_setting`, and for fewer than two frames.
    """
    if frames < 2:
        raise ValueError(f"A clip has at least 2 frames, got {frames}. Draw a scene where one picture is enough.")
    rng = Random(seed)  # noqa: S311  # pictures, not secrets
    while True:
        setting = make_setting(rng, width, height)
        things = make_things(rng, setting)
        if not any(thing.name in MOVABLE for thing in things):
            continue
        texture_seed = rng.getrandbits(32)
        for _ in range(ATTEMPTS):
            paths = _paths(rng, setting, place(rng, setting, things))
            if drawn := _render(setting, paths, texture_seed, frames):
                images, labels = drawn
                moving = tuple(first.name for first, last in paths if first != last)
                return Clip(images, labels, *tell(rng, setting, things, labels), seed, moving)


def _paths(rng: Random, setting: Setting, things: Sequence[Thing]) -> list[Path]:
    movable = [thing.name for thing in things if thing.name in MOVABLE]
    always = rng.choice(movable)
    moving = [name for name in movable if rng.random() < MOVES or name == always]
    return [_path(rng, setting, thing) if thing.name in moving else (thing, thing) for thing in things]


def _path(rng: Random, setting: Setting, thing: Thing) -> Path:
    """Across the picture, whole in it from the first frame to the last; balloons rise or sink as well."""
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
    setting: Setting, paths: Sequence[Path], texture_seed: int, frames: int
) -> tuple[np.ndarray, np.ndarray] | None:
    """Pictures and label maps of all frames; None if something is hidden in one of them."""
    images, labels = {}, {}
    # Where two are in each other's way it shows soonest at the ends and in the middle.
    for frame in sorted(range(frames), key=lambda frame: frame not in (0, frames // 2, frames - 1)):
        done = frame / (frames - 1)
        things = [
            replace(first, x=first.x + done * (last.x - first.x), y=first.y + done * (last.y - first.y))
            for first, last in paths
        ]
        images[frame], labels[frame], hidden = render(setting, things, texture_seed)
        if hidden:
            return None
    return tuple(np.stack([of[frame] for frame in range(frames)]) for of in (images, labels))  # type: ignore[return-value]
