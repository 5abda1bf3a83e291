"""Procedural landscapes with captions and exact label maps: the world of the embedded landscape model.

A scene is drawn at twice its size. Every shape goes into the image and, with its label, into the label map, so the two
agree to the pixel.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import count
from random import Random

import numpy as np

from ...errors import UserError
from .captions import vocabulary, write_caption
from .contents import COLORS, GROUNDS, LABELS, OBJECTS, SKY, Time
from .layout import Setting, Thing, make_things, place_things
from .painting import SCALE, render

__all__ = [
    "COLORS", "FIRST_UNSEEN_SEED", "GROUNDS", "LABELS", "OBJECTS", "SKY", "Scene", "draw_scene", "make_setting",
    "describe", "token_coverage", "vocabulary",
]  # fmt: skip

WORD_AREA = 0.005  # share of the image from which a label counts as present
FIRST_UNSEEN_SEED = 10_000_000  # training draws only seeds below this


@dataclass(frozen=True, eq=False)
class Scene:
    """One drawn landscape.

    Attributes:
        image: (H, W, 3) uint8, RGB; of a clip (F, H, W, 3).
        labels: (H, W) uint8, index into LABELS; of a clip (F, H, W).
        parts: (H, W) uint8, 1 + index into THIN where a thin part of a thing is visible, else 0; of a clip (F, H, W).
        caption: lower-case sentence; everything it says is true of the image.
        words: labels that cover at least 0.5 % of the image, in random order.
        phrases: phrase without article for each of the words, such as "red car" or "night sky".
        seed: the number it was drawn from.
    """

    image: np.ndarray
    labels: np.ndarray
    parts: np.ndarray
    caption: str
    words: tuple[str, ...]
    phrases: Mapping[str, str]
    seed: int


def draw_scene(seed: int, width: int = 256, height: int = 256) -> Scene:
    """Draw a landscape; the same arguments always give the same scene.

    Args:
        seed: chooses the scene.
        width: pixels, a multiple of 16, at least 64.
        height: pixels, a multiple of 16, at least 64.

    Returns:
        The scene. Objects keep their size relative to the shorter side and spread over the whole image;
        in very long images (16 : 1) they may be too small to be named and are then left out.

    Raises:
        UserError: if a side is not a multiple of 16 or is below 64.
    """
    rng = Random(seed)  # noqa: S311  # reproducible, not secret
    setting = make_setting(rng, width, height)
    things = make_things(rng, setting)
    texture_seed = rng.getrandbits(32)
    hidden: set[str] = set()
    for attempt in count():
        if attempt > 2:  # there is no room for them
            things = [thing for thing in things if thing.name not in hidden]
        things = place_things(rng, setting, things)
        image, labels, hidden, parts = render(setting, things, texture_seed)
        if not hidden:
            break
    return Scene(image, labels, parts, *describe(rng, setting, things, labels), seed)


def make_setting(rng: Random, width: int, height: int) -> Setting:
    """Choose light, ground and horizon of a landscape.

    Args:
        rng: source of every choice.
        width: pixels, a multiple of 16, at least 64.
        height: pixels, a multiple of 16, at least 64.

    Raises:
        UserError: if a side is not a multiple of 16 or is below 64.
    """
    for side, value in (("width", width), ("height", height)):
        if value % 16 or value < 64:
            raise UserError(f"Scene {side} must be a multiple of 16, at least 64, got {value}.")
    time: Time = rng.choices(("day", "sunset", "night"), (50, 20, 30))[0]
    ground = rng.choice(GROUNDS)
    horizon = round(height * SCALE * rng.uniform(0.52, 0.68))
    return Setting(width * SCALE, height * SCALE, horizon, time, ground)


def describe(
    rng: Random, setting: Setting, things: Sequence[Thing], labels: np.ndarray
) -> tuple[str, tuple[str, ...], dict[str, str]]:
    """Caption, words and phrases of a drawn landscape; see `Scene`."""
    names_colors = rng.random() < 0.6
    colors = {thing.name: thing.color for thing in things if thing.color and names_colors}
    caption, phrases = write_caption(rng, setting.time, setting.ground, [thing.name for thing in things], colors)
    areas = np.bincount(labels.ravel(), minlength=len(LABELS)) / labels.size
    present = [name for name, area in zip(LABELS, areas, strict=True) if area >= WORD_AREA]
    words = tuple(rng.sample(present, len(present)))
    return caption, words, {word: phrases[word] for word in words}


def token_coverage(labels: np.ndarray, patch: int = 16) -> np.ndarray:
    """The share of every image token that each label covers.

    Args:
        labels: (H, W) integer, index into LABELS; of a clip (F, H, W).
        patch: pixels along one side of a token; divides H and W.

    Returns:
        (len(LABELS), H / patch, W / patch), of a clip (len(LABELS), F, H / patch, W / patch), float32 in [0, 1]; sums
        to 1 over the labels.

    Raises:
        ValueError: if the patch does not divide both sides.
    """
    if labels.ndim == 3:
        return np.stack([token_coverage(frame, patch) for frame in labels], axis=1)
    if labels.ndim != 2 or labels.shape[0] % patch or labels.shape[1] % patch:
        raise ValueError(f"Labels must be (H, W), sides multiples of {patch}, got {labels.shape}.")
    rows, columns = labels.shape[0] // patch, labels.shape[1] // patch
    token = np.arange(rows).repeat(patch)[:, None] * columns + np.arange(columns).repeat(patch)
    bins = labels.astype(np.intp) * (rows * columns) + token
    counts = np.bincount(bins.ravel(), minlength=len(LABELS) * rows * columns)
    return (counts.reshape(len(LABELS), rows, columns) / patch**2).astype(np.float32)
