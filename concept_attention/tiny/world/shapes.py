"""The objects of the landscape world as lists of filled polygons and ellipses.

Convention: one unit is the image's shorter side, y points down. The origin is the middle of the base for
things that stand on the ground and the centre for things in the sky.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from random import Random
from typing import Literal

from .contents import Color, shade

Point = tuple[float, float]
WINDOW_DAY: Color = (164, 212, 240)
WINDOW_NIGHT: Color = (255, 226, 120)
WOOD: Color = (112, 72, 42)
SNOW_CAP: Color = (248, 249, 253)
THIN = ("mast", "trunk", "stem", "basket")  # names of parts that are no wider than about one token


@dataclass(frozen=True)
class Part:
    """One filled shape: a polygon's corners, or the two opposite corners of an ellipse's box."""

    kind: Literal["polygon", "ellipse"]
    points: tuple[Point, ...]
    color: Color
    glows: bool = False  # keeps its colour at night
    name: str = ""  # one of `THIN`, or none


def polygon(color: Color, *points: Point, glows: bool = False, name: str = "") -> Part:
    return Part("polygon", points, color, glows, name)


def rectangle(color: Color, x0: float, y0: float, x1: float, y1: float, glows: bool = False, name: str = "") -> Part:
    return Part("polygon", ((x0, y0), (x1, y0), (x1, y1), (x0, y1)), color, glows, name)


def ellipse(color: Color, x: float, y: float, rx: float, ry: float = 0.0, glows: bool = False) -> Part:
    """An ellipse around a centre; a circle without `ry`."""
    ry = ry or rx
    return Part("ellipse", ((x - rx, y - ry), (x + rx, y + ry)), color, glows)


def arc(x: float, y: float, radius: float, start: float, stop: float, count: int = 16) -> list[Point]:
    """Points on a circle from one angle to another (degrees, clockwise from the right)."""
    angles = (math.radians(start + (stop - start) * i / (count - 1)) for i in range(count))
    return [(x + radius * math.cos(angle), y + radius * math.sin(angle)) for angle in angles]


def house(rng: Random, color: Color, night: bool) -> list[Part]:
    roof = (104, 90, 102) if max(color) - min(color) > 50 else (164, 58, 44)  # red for pale walls
    window = WINDOW_NIGHT if night else WINDOW_DAY
    parts = [
        rectangle(shade(roof, 0.8), 0.08, -0.40, 0.135, -0.27),
        rectangle(color, -0.18, -0.23, 0.18, 0.0),
        polygon(roof, (-0.225, -0.22), (-0.02, -0.40), (0.02, -0.40), (0.225, -0.22)),
        rectangle(shade(WOOD, 0.85), -0.042, -0.14, 0.042, 0.0),
        ellipse((240, 210, 110), 0.022, -0.065, 0.008),
    ]
    for x in (-0.11, 0.11):
        parts.append(rectangle(SNOW_CAP, x - 0.046, -0.178, x + 0.046, -0.082))
        parts.append(rectangle(window, x - 0.036, -0.168, x + 0.036, -0.092, glows=night))
        parts.append(rectangle(SNOW_CAP, x - 0.005, -0.17, x + 0.005, -0.09))
    return parts


def tree(rng: Random, color: Color, night: bool) -> list[Part]:
    if night:
        color = shade(color, 1.2)  # the grass is darker than its needles then
    tiers = ((-0.13, -0.34, 0.18, 0.85), (-0.24, -0.44, 0.15, 1.0), (-0.35, -0.54, 0.115, 1.14))
    return [
        polygon(WOOD, (-0.042, 0.0), (-0.028, -0.24), (0.028, -0.24), (0.042, 0.0), name="trunk"),
        *(polygon(shade(color, tone), (-half, base), (0.0, top), (half, base)) for base, top, half, tone in tiers),
    ]


def sun(rng: Random, color: Color, night: bool) -> list[Part]:
    radius = 0.11
    corners = arc(0, 0, radius, 0, 360, 25)[:-1]
    rays = tuple((1.55 * x, 1.55 * y) if i % 2 else (x, y) for i, (x, y) in enumerate(corners))
    return [
        polygon((255, 176, 36), *rays, glows=True),
        ellipse(color, 0, 0, radius, glows=True),
        ellipse(shade(color, 1.35), 0, 0, radius * 0.68, glows=True),
    ]


def moon(rng: Random, color: Color, night: bool) -> list[Part]:
    radius, dark = 0.125, shade(color, 0.86)
    craters = ((-0.04, -0.045, 0.028), (0.05, 0.0, 0.034), (-0.03, 0.06, 0.024), (0.035, -0.075, 0.016))
    return [
        ellipse(color, 0, 0, radius, glows=True),
        *(ellipse(dark, x, y, size, glows=True) for x, y, size in craters),
    ]


def cloud(rng: Random, color: Color, night: bool) -> list[Part]:
    puffs = [(-0.15, 0.035, 0.095, 0.065), (-0.05, -0.03, 0.115, 0.1), (0.075, -0.005, 0.11, 0.085)]
    puffs += [(0.165, 0.04, 0.085, 0.06), (0.0, 0.05, 0.19, 0.055)]
    lift = rng.uniform(0.0, 0.03)
    shadow = [ellipse(shade(color, 0.86), x, y + 0.014, rx, ry) for x, y, rx, ry in puffs]
    return shadow + [ellipse(color, x, y - lift * (y < 0), rx, ry) for x, y, rx, ry in puffs]


def mountain(rng: Random, color: Color, night: bool) -> list[Part]:
    high, low, half = rng.uniform(0.36, 0.42), rng.uniform(0.2, 0.26), rng.uniform(0.38, 0.46)
    side = rng.uniform(0.22, 0.28)
    cap = 0.34  # share of the height under snow
    if night:
        color = shade(color, 1.25)  # the night sky is as dark as its slopes
    edge, snow_line = half * cap, -high * (1 - cap)
    snow = (
        (0.0, -high), (edge, snow_line), (0.45 * edge, snow_line - 0.025), (0.1 * edge, snow_line + 0.035),
        (-0.5 * edge, snow_line - 0.02), (-edge, snow_line),
    )  # fmt: skip
    return [
        polygon(shade(color, 0.9), (side - 0.3, 0.03), (side, -low), (side + 0.3, 0.03)),
        polygon(color, (-half, 0.03), (0.0, -high), (half, 0.03)),
        polygon(shade(color, 0.8), (0.0, -high), (half, 0.03), (0.07, 0.03), (-0.03, -0.5 * high)),
        polygon(SNOW_CAP, *snow),
    ]


def boat(rng: Random, color: Color, night: bool) -> list[Part]:
    sail = (252, 250, 240)
    return [
        rectangle(WOOD, -0.013, -0.46, 0.013, -0.1, name="mast"),
        polygon(sail, (0.022, -0.45), (0.022, -0.135), (0.19, -0.135)),
        polygon(color, (-0.022, -0.41), (-0.022, -0.135), (-0.155, -0.135)),
        polygon(color, (-0.23, -0.11), (0.24, -0.11), (0.165, 0.0), (-0.17, 0.0)),
        polygon(shade(color, 0.72), (-0.193, -0.055), (0.203, -0.055), (0.165, 0.0), (-0.17, 0.0)),
    ]


def car(rng: Random, color: Color, night: bool) -> list[Part]:
    back = ((-0.25, -0.06), (-0.25, -0.14), (-0.225, -0.165), (-0.15, -0.17), (-0.095, -0.295))
    front = ((0.07, -0.295), (0.145, -0.17), (0.225, -0.155), (0.255, -0.12), (0.255, -0.06))
    parts = [
        polygon(color, *back, *front),
        rectangle(shade(color, 0.75), -0.25, -0.085, 0.255, -0.055),
        polygon(WINDOW_DAY, (-0.12, -0.172), (-0.08, -0.27), (-0.018, -0.27), (-0.018, -0.172)),
        polygon(WINDOW_DAY, (0.006, -0.172), (0.006, -0.27), (0.058, -0.27), (0.108, -0.172)),
        ellipse((255, 240, 160), 0.237, -0.125, 0.018, 0.02, glows=True),
    ]
    for x in (-0.145, 0.15):
        parts += [ellipse((34, 34, 40), x, -0.058, 0.062), ellipse((190, 192, 198), x, -0.058, 0.028)]
    return parts


def flower(rng: Random, color: Color, night: bool) -> list[Part]:
    x, y = 0.0, -0.34
    green = (64, 168, 66) if night else (34, 112, 40)  # both differ from the grass
    middle = (120, 70, 30) if color[0] > 200 and color[1] > 180 and color[2] < 120 else (252, 206, 60)
    petals = arc(x, y, 0.112, -90, 270, 6)[:-1]
    return [
        rectangle(green, -0.024, y, 0.024, 0.0, name="stem"),
        polygon(green, (0.0, -0.03), (0.06, -0.13), (0.15, -0.15), (0.1, -0.055)),
        polygon(green, (0.0, -0.01), (-0.06, -0.1), (-0.15, -0.115), (-0.1, -0.03)),
        *(ellipse(color, px, py, 0.064) for px, py in petals),
        ellipse(color, x, y, 0.07),
        ellipse(middle, x, y, 0.056),
    ]


def balloon(rng: Random, color: Color, night: bool) -> list[Part]:
    light, dark = shade(color, 1.3), shade(color, 0.82)
    parts = [
        polygon(WOOD, (-0.055, 0.13), (-0.045, 0.13), (-0.03, 0.21), (-0.04, 0.21), name="basket"),
        polygon(WOOD, (0.055, 0.13), (0.045, 0.13), (0.03, 0.21), (0.04, 0.21), name="basket"),
    ]
    for width, tone in ((1.0, color), (0.66, light), (0.3, color)):
        top, neck = 0.15 * width, 0.06 * width
        parts.append(polygon(tone, (-top, 0.0), (top, 0.0), (neck, 0.145), (-neck, 0.145)))
        parts.append(ellipse(tone, 0.0, -0.05, 0.165 * width, 0.165))
    parts.append(rectangle(dark, -0.06, 0.135, 0.06, 0.155))
    parts.append(rectangle(WOOD, -0.045, 0.2, 0.045, 0.265, name="basket"))
    return parts


def rock(rng: Random, color: Color, night: bool) -> list[Part]:
    left, shoulder, top, crest, right = (-0.17, -0.1), (-0.1, -0.19), (0.0, -0.23), (0.1, -0.17), (0.18, -0.08)
    middle, foot, front = (0.03, -0.12), (-0.04, -0.02), (0.0, 0.01)
    return [
        polygon(color, (-0.2, -0.01), left, shoulder, top, crest, right, (0.21, 0.0), front),
        polygon(shade(color, 1.16), left, shoulder, top, middle),
        polygon(shade(color, 0.8), middle, crest, right, (0.21, 0.0), front),
        polygon(shade(color, 0.9), left, foot, front, (-0.2, -0.01)),
    ]


SHAPES: Mapping[str, Callable[[Random, Color, bool], list[Part]]] = {
    "house": house,
    "tree": tree,
    "sun": sun,
    "moon": moon,
    "cloud": cloud,
    "mountain": mountain,
    "boat": boat,
    "car": car,
    "flower": flower,
    "balloon": balloon,
    "rock": rock,
}


def bounds(parts: Iterable[Part]) -> tuple[float, float, float, float]:
    """Left, top, right and bottom of a drawing, in its own units."""
    xs, ys = zip(*(point for part in parts for point in part.points), strict=True)
    return min(xs), min(ys), max(xs), max(ys)
