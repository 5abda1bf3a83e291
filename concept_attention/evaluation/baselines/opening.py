"""Baselines by name."""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor

from ..question import Question
from .daam import Daam
from .dino import Dino
from .plain import centre, uniform
from .sam3 import Sam3

Baseline = Callable[[Question], Tensor]
PLAIN: dict[str, Baseline] = {"uniform": uniform, "centre": centre}
# By name what loads the weights of a folder or of the hub's cache, and the usual weights.
_MODELS: dict[str, tuple[Callable[[str, str], Baseline], str]] = {
    "dino": (Dino.load, "facebook/dino-vits8"),
    "daam": (Daam.load, "stabilityai/stable-diffusion-xl-base-1.0"),
    "sam3": (Sam3.load, "facebook/sam3"),
}
BASELINES = (*PLAIN, *_MODELS)


def open_baseline(name: str, weights: str | None, device: str) -> Baseline:
    """The baseline called `name`, with the weights of a folder or of the hub's cache."""
    if name in PLAIN:
        return PLAIN[name]
    load, usual = _MODELS[name]
    return load(weights or usual, device)
