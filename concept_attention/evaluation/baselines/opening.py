"""Baselines by name."""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor

from ..protocols import Question
from .dino import Dino
from .plain import centre, uniform

Baseline = Callable[[Question], Tensor]
PLAIN: dict[str, Baseline] = {"uniform": uniform, "centre": centre}
BASELINES = (*PLAIN, "dino")


def open_baseline(name: str, weights: str | None, device: str) -> Baseline:
    """The baseline called `name`, with the weights of a folder or of the hub's cache."""
    return PLAIN[name] if name in PLAIN else Dino.load(weights or "facebook/dino-vits8", device)
