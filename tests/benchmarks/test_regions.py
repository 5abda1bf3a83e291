"""The benchmark of regions: one case at a toy length, and how values are judged."""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import Any

import pytest
import torch

from ..support.comfyui.boot import HostMissing, boot

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def regions(monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.syspath_prepend(str(ROOT))
    return importlib.import_module("benchmarks.regions")


def test_a_case_compares_all_ways_with_the_base_picture(regions: Any) -> None:
    try:
        boot()
    except HostMissing as missing:
        pytest.skip(str(missing))
    runs = importlib.import_module("benchmarks.regions_runs")
    with torch.inference_mode():
        case = runs.Landscapes(4, {"start": 0.0, "freeze": None}).case(regions.ATTRIBUTES[0], 1)
    assert set(case.pictures) == set(regions.WAYS) and case.latent_leak == 0
    inside, outside = case.change("everywhere")
    assert inside > 0 and outside > 0 and case.row().shape == (256, 7 * 256, 3)


def test_every_pair_names_its_concept_and_differs(regions: Any) -> None:
    pairs = [pair for kind in regions.KINDS.values() for pair in kind]
    assert len(regions.ATTRIBUTES) >= 20
    assert all(pair.base != pair.other and pair.concept in pair.concepts.split(", ") for pair in pairs)


@pytest.mark.parametrize(
    ("name", "value", "met"),
    [
        ("inside, blend", 0.8, True),
        ("inside, blend", 0.79, False),
        ("outside, blend", 0.5, True),
        ("outside, keep the rest", 0.1, False),
        ("cost of a LoRA", 1.2, False),
    ],
)
def test_bars_are_least_inside_and_greatest_elsewhere(regions: Any, name: str, value: float, met: bool) -> None:
    assert regions._met(name, value) is met
