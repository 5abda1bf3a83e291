"""Pictures of the world that are less regular than its landscapes: close-ups, pictures cut and swapped, and pairs.

In a whole landscape the place of a thing tells much of what it is, there is one kind of ground, and always a sky above
it. Here only words say what there is, and each is true of a part of the picture. So a model to which nobody tells where
things are has to find out what a word means by where it fits.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from random import Random

import numpy as np

from ...errors import UserError
from .scenes import FIRST_UNSEEN_SEED, LABELS, Scene, draw_scene

PAIRS, SWAPPED = 0.5, 0.4  # shares: of pairs; of their halves whose upper and lower parts are swapped
WHOLE = (0.8, 0.3)  # shares of whole landscapes: of single pictures, of those that become halves
DOWN = 0.4  # share of close-ups that look down
STEP = 8  # pixels of an autoencoder's patch, which no cut divides
CLOSEST = 3.0  # the most that a close-up enlarges
LOW = 0.55  # of the height of a landscape; what begins below mostly shows no sky
CLOSE_AREA, HALF_AREA = 0.015, 0.02  # share of a close-up, of half a pair, from which a label counts as present


@dataclass(frozen=True, eq=False)
class View(Scene):
    """A close-up, or the left half of one picture beside the right half of another.

    Attributes:
        pictures: the close-up, or the two halves; each has its own words and phrases.
    """

    pictures: tuple[Scene, ...]


def draw_view(seed: int, width: int = 128, height: int = 128, frames: int = 1) -> Scene:
    """Draw a landscape, a close-up of one, or the halves of two such pictures side by side.

    Args:
        seed: chooses the picture; the same arguments always give the same one.
        width, height: pixels, multiples of 16, at least 64.
        frames: 1; there are no such clips.

    Returns:
        The scene. Its words and phrases are those of what it shows.

    Raises:
        UserError: if there are several frames; see also `draw_scene`.
    """
    if frames != 1:
        raise UserError(f"Views are images, of 1 frame, got {frames}.")
    rng = Random(f"view {seed}")  # noqa: S311 - reproducible, not secret
    if rng.random() >= PAIRS:
        return _picture(rng, seed, width, height, WHOLE[0])
    left, right = (_picture(rng, one, width, height, WHOLE[1]) for one in (seed, rng.randrange(FIRST_UNSEEN_SEED)))
    return _pair(rng, left, right)


def _picture(rng: Random, seed: int, width: int, height: int, whole: float) -> Scene:
    """A landscape, in a share of `whole` (0-1) of cases, or a close-up of one."""
    if rng.random() < whole:
        return draw_scene(seed, width, height)
    closer = rng.uniform(1.25, CLOSEST)
    scene = draw_scene(seed, *(round(side * closer / 16) * 16 for side in (width, height)))
    rows, columns = scene.labels.shape
    lowest = rows - height
    top = rng.randint(min(lowest, round(LOW * rows)) if rng.random() < DOWN else 0, lowest)
    left = rng.randint(0, columns - width)
    close = _cut(scene, slice(top, top + height), slice(left, left + width), CLOSE_AREA)
    return View(**vars(close), pictures=(close,))


def _pair(rng: Random, left: Scene, right: Scene) -> View:
    middle = left.labels.shape[1] // 2
    halves = tuple(
        _swapped(rng, _cut(scene, slice(None), columns, HALF_AREA))
        for scene, columns in ((left, slice(0, middle)), (right, slice(middle, None)))
    )
    image, labels, parts = (
        np.concatenate([getattr(half, name) for half in halves], axis=1) for name in ("image", "labels", "parts")
    )
    phrases = {**halves[1].phrases, **halves[0].phrases}
    caption = ", ".join(dict.fromkeys(phrase for half in halves for phrase in half.phrases.values()))
    return View(image, labels, parts, caption, tuple(phrases), phrases, left.seed, halves)


def _swapped(rng: Random, scene: Scene) -> Scene:
    """The scene, sometimes with what is above a random height moved below the rest."""
    if rng.random() >= SWAPPED:
        return scene
    height = STEP * rng.randrange(2, scene.labels.shape[0] // STEP - 1)
    moved = {name: np.roll(getattr(scene, name), -height, axis=0) for name in ("image", "labels", "parts")}
    return replace(scene, **moved)


def _cut(scene: Scene, rows: slice, columns: slice, area: float) -> Scene:
    """A part of a scene; it names what covers at least `area` (0-1) of it."""
    image, labels, parts = (getattr(scene, name)[rows, columns] for name in ("image", "labels", "parts"))
    covered = np.bincount(labels.ravel(), minlength=len(LABELS)) / labels.size
    phrases = {word: phrase for word, phrase in scene.phrases.items() if covered[LABELS.index(word)] >= area}
    return Scene(image, labels, parts, ", ".join(phrases.values()), tuple(phrases), phrases, scene.seed)
