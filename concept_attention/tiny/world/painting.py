"""Paint a landscape: the image and its label map, from the same shapes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from random import Random
from typing import NamedTuple

import numpy as np
from PIL import Image, ImageDraw

from .contents import FLYING, LABELS, SKY, Color, Time, jitter, lit, shade
from .layout import Setting, Thing
from .shapes import THIN

_Light = tuple[float, float, float]  # red, green and blue, 0 to 1

SCALE = 2  # supersampling
MIN_VISIBLE = 0.4  # share of an object's own area that must stay uncovered
MIN_AREA = 0.006  # share of the image that every named object covers at least
_INDEX = {name: index for index, name in enumerate(LABELS)}
_SKIES: Mapping[Time, tuple[Color, Color]] = {
    "day": ((64, 138, 232), (164, 212, 248)),
    "sunset": ((96, 66, 152), (255, 142, 84)),
    "night": ((8, 10, 46), (42, 52, 112)),
}
_GROUND_COLORS: Mapping[str, Color] = {
    "grass": (84, 164, 58), "sand": (228, 200, 132), "water": (34, 98, 172), "snow": (234, 240, 249),
}  # fmt: skip
_DAYLIGHT: _Light = (1.0, 1.0, 1.0)
_SUNSET_GROUND: _Light = (0.84, 0.75, 0.76)  # dark enough for sand to end where the sky begins
_NIGHT_GROUND_COLORS: Mapping[str, Color] = {
    "grass": (34, 78, 38), "sand": (152, 128, 94), "water": (20, 80, 140), "snow": (220, 224, 234),
}  # fmt: skip
_OBJECT_LIGHT: Mapping[Time, _Light] = {
    "day": _DAYLIGHT, "sunset": (0.95, 0.9, 0.88), "night": (0.88, 0.89, 0.94),
}  # fmt: skip


class Painting(NamedTuple):
    """What `render` made.

    Attributes:
        image: (H, W, 3) uint8, RGB.
        labels: (H, W) uint8, index into LABELS.
        hidden: names of objects that are not visible enough.
        parts: (H, W) uint8, 1 + index into THIN where a thin part is visible, else 0.
    """

    image: np.ndarray
    labels: np.ndarray
    hidden: set[str]
    parts: np.ndarray


class _Canvas:
    """An image and its maps of labels and of thin parts, which are drawn together."""

    def __init__(self, setting: Setting) -> None:
        self.image = Image.new("RGB", (setting.width, setting.height))
        self.labels = Image.new("L", (setting.width, setting.height), _INDEX[SKY])
        self.brush = ImageDraw.Draw(self.image)
        self._label_brush = ImageDraw.Draw(self.labels)
        self.parts = Image.new("L", self.labels.size)
        self._part_brush = ImageDraw.Draw(self.parts)

    def draw(self, thing: Thing, light: _Light) -> int:
        """Draw an object; returns the pixels it covers."""
        label, sign = _INDEX[thing.name], -1 if thing.flipped else 1
        for part in thing.parts:
            points = [(thing.x + sign * thing.scale * x, thing.y + thing.scale * y) for x, y in part.points]
            if part.kind == "ellipse":
                (x0, y0), (x1, y1) = points
                points = [(min(x0, x1), y0), (max(x0, x1), y1)]
            getattr(self.brush, part.kind)(points, fill=lit(part.color, _DAYLIGHT if part.glows else light))
            getattr(self._label_brush, part.kind)(points, fill=label)
            getattr(self._part_brush, part.kind)(points, fill=1 + THIN.index(part.name) if part.name else 0)
        return self.labels.histogram()[label]

    def fill_rows(self, top: int, bottom: int, label: str, upper: Color, lower: Color) -> None:
        """Fill whole rows with a vertical gradient."""
        width, height = self.image.width, bottom - top
        steps = np.linspace(0, 1, height)[:, None, None]
        column = np.array(upper) * (1 - steps) + np.array(lower) * steps
        gradient = Image.fromarray(column.round().astype(np.uint8))
        self.image.paste(gradient.resize((width, height), Image.Resampling.NEAREST), (0, top))
        self.labels.paste(_INDEX[label], (0, top, width, bottom))


def render(setting: Setting, things: Sequence[Thing], seed: int) -> Painting:
    """Draw everything."""
    rng = Random(seed)  # noqa: S311  # separate, so that the texture does not depend on the objects
    light, night = _OBJECT_LIGHT[setting.time], setting.time == "night"
    canvas = _Canvas(setting)
    upper, lower = (jitter(rng, color, 12) for color in _SKIES[setting.time])
    canvas.fill_rows(0, setting.horizon, SKY, upper, lower)
    if night:
        _draw_stars(rng, setting, canvas.brush)
    behind = [thing for thing in things if thing.name in ("sun", "moon", "mountain")]
    drawn = {thing.name: canvas.draw(thing, light) for thing in behind}
    ground = jitter(rng, (_NIGHT_GROUND_COLORS if night else _GROUND_COLORS)[setting.ground], 7)
    ground = lit(ground, _SUNSET_GROUND if setting.time == "sunset" else _DAYLIGHT)
    far, near = shade(ground, 1.06), shade(ground, 0.92)
    canvas.fill_rows(setting.horizon, setting.height, setting.ground, far, near)
    _draw_texture(rng, setting, canvas.brush, ground)
    for thing in things:
        if thing not in behind:
            if thing.name not in FLYING:
                _draw_shadow(canvas.brush, thing, shade(ground, 0.78))
            drawn[thing.name] = canvas.draw(thing, light)
    visible = canvas.labels.histogram()
    labels = _majority(np.asarray(canvas.labels))
    kept = np.bincount(labels.ravel(), minlength=len(LABELS))
    hidden = {
        name
        for name, full in drawn.items()
        if visible[_INDEX[name]] < MIN_VISIBLE * full or kept[_INDEX[name]] < MIN_AREA * labels.size
    }
    return Painting(np.asarray(canvas.image.reduce(SCALE)), labels, hidden, _majority(np.asarray(canvas.parts)))


def _draw_stars(rng: Random, setting: Setting, brush: ImageDraw.ImageDraw) -> None:
    for _ in range(round(45 * setting.width * setting.horizon / setting.unit**2)):
        x, y = rng.uniform(0, setting.width), rng.uniform(0, setting.horizon)
        radius = setting.unit * rng.uniform(0.002, 0.0045)
        brush.ellipse((x - radius, y - radius, x + radius, y + radius), fill=(226, 228, 244))


def _draw_texture(rng: Random, setting: Setting, brush: ImageDraw.ImageDraw, ground: Color) -> None:
    """Draw blades of grass, grains of sand, waves or drifts of snow."""
    unit, depth = setting.unit, setting.height - setting.horizon
    tones = (shade(ground, 0.86), shade(ground, 1.16))
    for _ in range(round(200 * setting.width * depth / unit**2)):
        x, y, tone = rng.uniform(0, setting.width), setting.horizon + depth * rng.random(), rng.choice(tones)
        if setting.ground == "grass":
            tip = (x + rng.uniform(-0.01, 0.01) * unit, max(y - 0.028 * unit, setting.horizon))
            brush.line((x, y, *tip), fill=tone, width=max(1, round(0.006 * unit)))
        elif setting.ground == "water":
            length, drop = rng.uniform(0.04, 0.09) * unit, 0.008 * unit
            y = max(y, setting.horizon + 2 * drop)
            wave = [(x + i * length / 4, y - drop * (i % 2)) for i in range(5)]
            brush.line(wave, fill=tone, width=max(1, round(0.006 * unit)))
        else:
            rx, ry = (0.006, 0.004) if setting.ground == "sand" else (rng.uniform(0.02, 0.05), 0.006)
            y = max(y, setting.horizon + ry * unit)
            brush.ellipse((x - rx * unit, y - ry * unit, x + rx * unit, y + ry * unit), fill=tone)


def _draw_shadow(brush: ImageDraw.ImageDraw, thing: Thing, color: Color) -> None:
    """Draw a flat shadow on the ground; it is ground in the label map."""
    left, _, right, bottom = thing.box()
    height = 0.018 * thing.scale
    brush.ellipse((left, bottom - height, right, bottom + height), fill=color)


def _majority(labels: np.ndarray) -> np.ndarray:
    """Halve a label map: the most frequent label of every 2 x 2 block, the upper left one for a tie."""
    a, b, c, d = labels[::2, ::2], labels[::2, 1::2], labels[1::2, ::2], labels[1::2, 1::2]
    agrees = (a == b) | (a == c) | (a == d)
    return np.where(agrees, a, np.where((b == c) | (b == d), b, np.where(c == d, c, a)))
