"""The prompts of the contact sheets ask only for what the landscape world can show."""

from __future__ import annotations

import re

import pytest

from benchmarks.landscape import PROMPTS
from concept_attention.tiny.world.contents import Time, color_words, may_appear
from concept_attention.tiny.world.scenes import COLORS, GROUNDS, OBJECTS, SKY

TIMES: tuple[Time, ...] = ("day", "sunset", "night")


@pytest.mark.parametrize(("prompt", "names"), PROMPTS)
def test_prompts_ask_for_scenes_of_the_world(prompt: str, names: str) -> None:
    words = re.findall(r"\w+", prompt)
    (ground,) = (word for word in words if word in GROUNDS)
    objects = [word for word in words if word in OBJECTS]
    colors = {after: word for word, after in zip(words, words[1:], strict=False) if word in COLORS and after != SKY}
    times = [time for time in TIMES if time in words] or TIMES
    shown = [
        time
        for time in times
        if all(may_appear(name, ground, time) for name in objects)
        and all(color in color_words(name, ground, time) for name, color in colors.items())
    ]
    assert shown and 1 <= len(objects) <= 3
    assert names.split(", ") == [*objects, ground, SKY]


def test_every_object_ground_and_time_comes_up() -> None:
    words = {word for prompt, _ in PROMPTS for word in re.findall(r"\w+", prompt)}
    assert {*OBJECTS, *GROUNDS, "sunset", "night"} <= words
