"""Settings: refused when they are made, checked against a model before it samples, and told apart."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest
import torch

from concept_attention.errors import UserError
from concept_attention.hosts.comfyui.engine.settings import Settings
from concept_attention.hosts.encoded import EncodedConcepts

from ....support.comfyui.recording_spy import make_encoded
from ....support.comfyui.tiny import make_flux


@pytest.mark.parametrize(
    "options, message",
    [
        ({"encoded": EncodedConcepts((), torch.zeros(0, 48), (), "first")}, "There are no concepts to record"),
        ({"layers": "first"}, '`layers` cannot be "first"'),
        ({"layers": ""}, "`layers` cannot be"),
        ({"layers": "5-3"}, "range 5-3, which runs backwards"),
        ({"start_percent": 0.5, "end_percent": 0.5}, "The range 0.5 to 0.5 selects no step"),
        ({"start_percent": 0.9, "end_percent": 0.1}, "selects no step"),
        ({"start_percent": -0.1}, "selects no step"),
        ({"end_percent": 1.1}, "selects no step"),
        ({"end_percent": float("nan")}, "selects no step"),
        ({"mode": "sdxl"}, "Mode 'sdxl' does not exist"),
        ({"dtype": torch.int8}, "float32 or float16, got torch.int8"),
    ],
)
def test_what_no_model_could_be_recorded_with_is_refused_at_once(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message) as error:
        Settings(**{"encoded": make_encoded(), **options})
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    "options, message",
    [
        ({"layers": "3"}, r"^Layer 3 does not exist: this model has 3 joint blocks \(0-2\)"),
        ({"layers": "0-999999999"}, "^Layer 999999999 does not exist"),
        ({"encoded": make_encoded(width=96)}, r"^Concept embeddings have width 96, but this model expects 48\. "),
    ],
)
def test_what_this_model_cannot_be_recorded_with_is_refused_before_the_run(
    options: dict[str, Any], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        Settings(**{"encoded": make_encoded(), **options}).check(make_flux().model)


@pytest.mark.parametrize("layers, kept", [("all", (0, 1, 2)), ("auto", (1, 2)), ("2,0", (0, 2)), ("1-2", (1, 2))])
def test_layers_are_the_live_models(layers: str, kept: tuple[int, ...]) -> None:
    assert Settings(make_encoded(), layers=layers).check(make_flux().model).layers == kept


@pytest.mark.parametrize(
    "start, end, steps, recorded",
    [
        (0.0, 1.0, 4, [0, 1, 2, 3]),
        (0.5, 1.0, 4, [2, 3]),
        (0.0, 0.5, 4, [0, 1]),
        (0.3, 0.4, 4, [1]),  # the step that the range lies in
        (0.3, 0.7, 10, [3, 4, 5, 6]),  # 0.3 * 10 is a little more than 3, and 0.7 * 10 a little less than 7
        (0.99, 1.0, 3, [2]),
        (0.0, 0.01, 3, [0]),
        (0.4, 0.6, 1, [0]),
    ],
)
def test_a_range_selects_the_steps_it_touches(start: float, end: float, steps: int, recorded: list[int]) -> None:
    settings = Settings(make_encoded(), start_percent=start, end_percent=end)
    assert [step for step in range(steps) if settings.records(step, steps)] == recorded


def test_an_end_of_one_has_no_end() -> None:
    """Some samplers choose their own number of steps."""
    assert Settings(make_encoded()).records(7, 4)
    assert not Settings(make_encoded(), end_percent=0.99).records(7, 4)


def test_fingerprints_tell_settings_apart_and_are_equal_for_equal_ones() -> None:
    settings = Settings(make_encoded())
    assert settings.fingerprint() == Settings(make_encoded()).fingerprint()
    others = [
        {"encoded": make_encoded(seed=6)},
        {"encoded": make_encoded(2)},
        {"layers": "auto"},
        {"start_percent": 0.1},
        {"end_percent": 0.9},
        {"mode": "paper"},
        {"dtype": torch.float16},
        {"keep": "running mean"},
    ]
    found = {dataclasses.replace(settings, **other).fingerprint() for other in others}
    assert len(found | {settings.fingerprint()}) == len(others) + 1


def test_an_unknown_keep_is_refused() -> None:
    with pytest.raises(UserError, match="'all' does not exist.*every step, running mean"):
        Settings(make_encoded(), keep="all")  # type: ignore[arg-type]
