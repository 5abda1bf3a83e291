"""Contents of the landscape world: its labels and colours, and what may appear where."""

from __future__ import annotations

from collections.abc import Mapping
from random import Random
from typing import Literal

Color = tuple[int, int, int]
Time = Literal["day", "sunset", "night"]

SKY = "sky"
GROUNDS = ("grass", "sand", "water", "snow")
OBJECTS = (
    "house", "tree", "sun", "moon", "cloud", "mountain", "boat", "car", "flower", "balloon", "rock",
)  # fmt: skip
LABELS: tuple[str, ...] = (SKY, *GROUNDS, *OBJECTS)
COLORS = ("red", "blue", "yellow", "green", "white", "orange", "purple", "brown", "gray")

FLYING = ("sun", "moon", "cloud", "balloon")  # drawn in the sky, back to front
LAND_ONLY = ("house", "tree", "car", "flower")

RGB: Mapping[str, Color] = {
    "red": (218, 42, 42),
    "blue": (45, 95, 220),
    "yellow": (250, 216, 50),
    "green": (40, 160, 75),
    "white": (247, 246, 242),
    "orange": (248, 138, 28),
    "purple": (150, 66, 196),
    "brown": (132, 80, 44),
    "gray": (138, 141, 148),
}

# Objects whose colour a caption may name, with the colours that suit them.
OBJECT_COLORS: Mapping[str, tuple[str, ...]] = {
    "car": ("red", "blue", "yellow", "green", "white", "orange", "purple", "gray"),
    "house": ("red", "blue", "yellow", "green", "white", "orange", "brown", "gray"),
    "balloon": ("red", "blue", "yellow", "green", "orange", "purple"),
    "boat": ("red", "yellow", "green", "white", "orange", "brown"),
    "flower": ("red", "blue", "yellow", "white", "orange", "purple"),
}

# Colours of the objects a caption never describes by colour.
NATURAL_COLORS: Mapping[str, tuple[Color, ...]] = {
    "tree": ((32, 104, 46), (24, 88, 58), (22, 96, 70)),  # darker than grass by day
    "sun": ((255, 214, 46), (255, 226, 80)),
    "moon": ((244, 242, 216), (250, 246, 228)),
    "cloud": ((250, 251, 254),),
    "mountain": ((112, 106, 122), (128, 106, 92), (88, 108, 134)),
    "rock": ((124, 120, 118), (106, 106, 112), (138, 128, 118)),
}

# Colours too similar to what is behind the object.
_HIDDEN_ON = {"grass": "green", "sand": "yellow", "water": "blue", "snow": "white"}
_HIDDEN_IN = {"day": "blue", "sunset": "orange", "night": "blue"}


def color_words(name: str, ground: str, time: Time) -> tuple[str, ...]:
    """Colour words that an object may have on this ground at this time; none if its colour is never named."""
    hidden = _HIDDEN_IN[time] if name in FLYING else _HIDDEN_ON[ground]
    return tuple(word for word in OBJECT_COLORS.get(name, ()) if word != hidden)


def may_appear(name: str, ground: str, time: Time) -> bool:
    """Whether an object may appear on this ground at this time: no boats on land, no sun at night."""
    if name == "boat":
        return ground == "water"
    if name in LAND_ONLY:
        return ground != "water"
    if name == "sun":
        return time != "night"
    if name == "moon":  # a pale moon by day looks like a cloud
        return time != "day"
    return True


def choose_objects(rng: Random, ground: str, time: Time) -> list[str]:
    """Choose one to three objects that may appear together."""
    count = rng.choice((1, 2, 2, 3, 3))
    pool = [name for name in OBJECTS if may_appear(name, ground, time)]
    rng.shuffle(pool)
    favourite = {"night": "moon", "sunset": "sun"}.get(time, "boat")
    for name in ("boat", favourite):
        if name in pool and rng.random() < 0.4:
            pool.remove(name)
            pool.insert(0, name)
    chosen: list[str] = []
    for name in pool:
        if len(chosen) < count and not {"sun", "moon"} <= {name, *chosen}:
            chosen.append(name)
    return chosen


def shade(color: Color, factor: float) -> Color:
    """Darken a colour (factor below 1) or move it towards white (factor 1 to 2)."""
    if factor <= 1:
        r, g, b = (int(value * factor) for value in color)
    else:
        r, g, b = (int(value + (255 - value) * (factor - 1)) for value in color)
    return r, g, b


def lit(color: Color, light: tuple[float, float, float]) -> Color:
    """Multiply a colour by a light's red, green and blue (0 to 1)."""
    r, g, b = (int(value * factor) for value, factor in zip(color, light, strict=True))
    return r, g, b


def jitter(rng: Random, color: Color, amount: float) -> Color:
    """Move every channel by up to `amount` (0-255)."""
    r, g, b = (min(255, max(0, round(value + rng.uniform(-amount, amount)))) for value in color)
    return r, g, b
