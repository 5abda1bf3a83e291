"""Layout of a landscape: which objects it shows, and where."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from random import Random

from .contents import FLYING, NATURAL_COLORS, RGB, Time, choose_objects, color_words, jitter
from .shapes import SHAPES, Part, bounds

MARGIN = 0.02  # of the image's shorter side, around objects that are fully visible
GAP = 0.06  # of the shorter side, kept free between things where there is room: about one token


@dataclass(frozen=True)
class Setting:
    """Canvas (supersampled pixels), light and ground that the objects are placed into."""

    width: int
    height: int
    horizon: int
    time: Time
    ground: str

    @property
    def unit(self) -> int:
        """Pixels of the shorter side, which sizes are relative to."""
        return min(self.width, self.height)


@dataclass(frozen=True)
class Thing:
    """An object with its place: `x`, `y` and `scale` map the parts' units to canvas pixels."""

    name: str
    color: str | None
    parts: tuple[Part, ...]
    scale: float
    flipped: bool
    x: float = 0.0
    y: float = 0.0

    def box(self) -> tuple[float, float, float, float]:
        """Left, top, right and bottom, in canvas pixels."""
        left, top, right, bottom = (value * self.scale for value in bounds(self.parts))
        if self.flipped:
            left, right = -right, -left
        return self.x + left, self.y + top, self.x + right, self.y + bottom


def make_things(rng: Random, setting: Setting) -> list[Thing]:
    """Choose the objects, their colours, shapes and sizes; they have no place yet."""
    things = []
    for name in choose_objects(rng, setting.ground, setting.time):
        words = color_words(name, setting.ground, setting.time)
        word = rng.choice(words) if words else None
        color = jitter(rng, RGB[word], 10) if word else jitter(rng, rng.choice(NATURAL_COLORS[name]), 4)
        parts = tuple(SHAPES[name](rng, color, setting.time == "night"))
        things.append(Thing(name, word, parts, rng.uniform(0.92, 1.2) * setting.unit, rng.random() < 0.5))
    standing = [thing for thing in things if thing.name not in FLYING and thing.name != "mountain"]
    crowd = sum(right - left for left, _, right, _ in (thing.box() for thing in standing)) / setting.width
    shrink = max(0.75, min(1.0, 0.95 / crowd)) if crowd else 1.0
    return [replace(thing, scale=thing.scale * shrink) if thing in standing else thing for thing in things]


def place_things(rng: Random, setting: Setting, things: Sequence[Thing]) -> list[Thing]:
    """Place every object where it covers the others least; returns them back to front."""
    placed: list[Thing] = []
    gap = GAP * setting.unit
    for thing in sorted(things, key=_depth):
        candidates = [_candidate(rng, setting, thing)]
        while _overlap(candidates[-1], placed, gap) > 0.0 and len(candidates) < 60:
            smaller = replace(thing, scale=thing.scale * (1 - 0.004 * len(candidates)))
            candidates.append(_candidate(rng, setting, smaller))
        placed.append(min(candidates, key=lambda candidate: _overlap(candidate, placed, gap)))
    return sorted(placed, key=_depth)


def _depth(thing: Thing) -> tuple[int, float]:
    """Paint order: sun and moon, mountain, cloud and balloon, then what stands on the ground, far to near."""
    layers = {"sun": 0, "moon": 0, "mountain": 1, "cloud": 2, "balloon": 3}
    return layers.get(thing.name, 4), thing.y


def _candidate(rng: Random, setting: Setting, thing: Thing) -> Thing:
    """A random place for the object: entirely in the sky, or with its base on the ground."""
    left, top, right, bottom = replace(thing, x=0.0, y=0.0).box()
    margin = MARGIN * setting.unit
    x = _between(rng, margin - left, setting.width - margin - right)
    if thing.name == "mountain":
        return replace(thing, x=rng.uniform(0.15, 0.85) * setting.width, y=float(setting.horizon))
    if thing.name == "sun" and setting.time == "sunset":  # low, or half below the horizon
        return replace(thing, x=x, y=setting.horizon - bottom * rng.uniform(0.1, 1.1))
    if thing.name in FLYING:
        clear = margin + (0.1 * setting.unit if thing.name == "cloud" else 0.0)  # lower, it looks like a snowy hill
        return replace(thing, x=x, y=_between(rng, margin - top, setting.horizon - clear - bottom))
    highest = max(setting.horizon + 0.07 * setting.unit, margin - top)
    return replace(thing, x=x, y=_between(rng, highest, setting.height - 2 * margin))


def _between(rng: Random, low: float, high: float) -> float:
    return rng.uniform(low, high) if low <= high else (low + high) / 2


def _overlap(thing: Thing, others: Sequence[Thing], gap: float) -> float:
    """Largest intersection of this object's box, enlarged by `gap`, with another's, as share of the smaller box."""
    worst = 0.0
    left, top, right, bottom = thing.box()
    a = left - gap, top - gap, right + gap, bottom + gap
    for other in others:
        b = other.box()
        common = max(0.0, min(a[2], b[2]) - max(a[0], b[0])) * max(0.0, min(a[3], b[3]) - max(a[1], b[1]))
        smaller = min((box[2] - box[0]) * (box[3] - box[1]) for box in (a, b))
        # Things may stand in front of a mountain's foot, and sun and moon behind its slope.
        lenient = other.name == "mountain" and thing.name not in ("cloud", "balloon")
        lenient |= thing.name == "mountain"
        worst = max(worst, common / smaller * (0.15 if lenient else 1.0))
    return worst
