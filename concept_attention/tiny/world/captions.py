"""Captions of a landscape, in words that are always true of the image."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from random import Random

from .contents import COLORS, FLYING, LABELS, SKY, Time

MAX_WORDS = 14  # longer sentences become plain lists, which are shorter
_SKY_WORDS: Mapping[Time, str] = {"day": "blue", "sunset": "sunset", "night": "night"}
_TIME_WORDS: Mapping[Time, str] = {"day": "by day", "sunset": "at sunset", "night": "at night"}
_NAMED: Mapping[Time, float] = {"day": 0.35, "sunset": 1.0, "night": 1.0}  # how often; unnamed is day
_NAMED_WITH_MOON = 0.8  # a moon already says that it is not day
_CONNECTIVES = ("a", "an", "and", "in", "of", "on", "over", "picture", "the", "under", "with")


def vocabulary() -> tuple[str, ...]:
    """Every word that captions and phrases can contain, sorted; punctuation is not a word."""
    times = " ".join((*_SKY_WORDS.values(), *_TIME_WORDS.values())).split()
    return tuple(sorted({*_CONNECTIVES, *times, *LABELS, *COLORS}))


def write_caption(
    rng: Random, time: Time, ground: str, objects: Sequence[str], colors: Mapping[str, str]
) -> tuple[str, dict[str, str]]:
    """Write a caption.

    Args:
        rng: source of every choice.
        time: time of day that the image shows.
        ground: the ground's label.
        objects: labels of the visible objects.
        colors: colour words to name, by object.

    Returns:
        The caption, lower-case, and the phrase (no article) that names each label truthfully.
    """
    names_time = rng.random() < (_NAMED_WITH_MOON if "moon" in objects else _NAMED[time])
    phrases = {SKY: f"{_SKY_WORDS[time]} sky" if names_time else SKY, ground: ground}
    phrases |= {name: f"{colors[name]} {name}" if name in colors else name for name in objects}
    order = rng.sample(list(objects), len(objects))
    kind = rng.choices(("sentence", "short", "list", "with", "picture"), (4, 3, 2, 2, 2))[0]
    if not objects:
        return f"{ground} and {phrases[SKY]}", phrases
    if kind == "picture":
        caption = f"a picture of {_join(order, phrases)}" + (f" {_TIME_WORDS[time]}" if names_time else "")
    elif kind == "short":
        caption = _short(order, phrases, ground) + (f" {_TIME_WORDS[time]}" if names_time and time != "day" else "")
    elif kind == "with":
        caption = f"{ground} and {phrases[SKY]} with {_join(order, phrases)}"
    elif kind == "sentence" and _stands_on(order, ground):
        caption = _sentence(order, phrases, ground)
    else:
        caption = _listing(order, phrases, ground)
    if len(caption.split()) > MAX_WORDS:
        caption = _listing(order, phrases, ground)
    return caption, phrases


def _sentence(order: Sequence[str], phrases: Mapping[str, str], ground: str) -> str:
    standing = [name for name in order if name not in FLYING]
    flying = [name for name in order if name in FLYING]
    if not standing:
        return f"{_join(flying, phrases)} in the {phrases[SKY]} over {ground}"
    above = f"{_join(flying, phrases)} in " if flying else ""
    return f"{_join(standing, phrases)} on {ground} under {above}the {phrases[SKY]}"


def _short(order: Sequence[str], phrases: Mapping[str, str], ground: str) -> str:
    """What people type, without sky and day."""
    standing = [name for name in order if name not in FLYING]
    return f"{_join(order, phrases)} {'on' if standing and _stands_on(order, ground) else 'over'} {ground}"


def _stands_on(order: Sequence[str], ground: str) -> bool:
    """Whether "on" is true: no mountain stands on water."""
    return bool({"mountain", "water"} - {*order, ground})


def _listing(order: Sequence[str], phrases: Mapping[str, str], ground: str) -> str:
    return ", ".join([*(_with_article(phrases[name]) for name in order), phrases[ground], phrases[SKY]])


def _join(names: Sequence[str], phrases: Mapping[str, str]) -> str:
    """Join phrases with articles as in "a house, a tree and a car"."""
    *first, last = [_with_article(phrases[name]) for name in names]
    return f"{', '.join(first)} and {last}" if first else last


def _with_article(phrase: str) -> str:
    return f"an {phrase}" if phrase[0] in "aeiou" else f"a {phrase}"
