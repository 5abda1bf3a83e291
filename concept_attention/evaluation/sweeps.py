"""Sweeps: the ablations of arXiv:2502.04320 and a few more, each a list of settings that differ in one thing."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from ..errors import UserError
from .settings import Settings

Steps = list[tuple[str, Settings]]


def _over(name: str, values: Sequence[object]) -> Callable[[Settings, Sequence[int]], Steps]:
    return lambda base, layers: [
        ("whole" if value is None else str(value), _with(base, name, value)) for value in values
    ]


def _with(base: Settings, name: str, value: Any) -> Settings:
    return replace(base, **{name: value})


def _layers(base: Settings, layers: Sequence[int]) -> Steps:
    every = [("auto", replace(base, recorded="all")), ("all", replace(base, recorded="all", layers="all"))]
    return every + [(str(layer), replace(base, recorded="all", layers=str(layer))) for layer in layers]


def _noise(base: Settings, layers: Sequence[int]) -> Steps:
    return [(f"{tenth / 10:g}", replace(base, noise=tenth / 10)) for tenth in range(1, 10)]


def _softmax(base: Settings, layers: Sequence[int]) -> Steps:
    return [("softmax", replace(base, softmax=True)), ("none", replace(base, softmax=False))]


def _flip(base: Settings, layers: Sequence[int]) -> Steps:
    return [("picture", replace(base, flip=False)), ("mirrored, too", replace(base, flip=True))]


def _background(base: Settings, layers: Sequence[int]) -> Steps:
    if not base.background:
        raise UserError("The sweep over concepts takes background words away one by one: give some with --background.")
    return [(str(n), replace(base, background=base.background[:n])) for n in range(len(base.background) + 1)]


# By the name that users write: what varies, for people, and the settings.
SWEEPS: Mapping[str, tuple[str, Callable[[Settings, Sequence[int]], Steps]]] = {
    "space": ("vectors that are compared", _over("method", ("concept", "value", "cross"))),
    "softmax": ("softmax over concepts", _softmax),
    "attends": ("what concepts attend to", _over("attends", ("both", "image", "concepts", "itself"))),
    "layers": ("joint block", _layers),
    "noise": ("noise level", _noise),
    "samples": ("noise samples", _over("samples", (1, 2, 3, 5, 8))),
    "flip": ("what is looked at", _flip),
    "concepts": ("background concepts", _background),
    "low": ("longer side of the picture in pixels", _over("low", (32, 64, 128, None))),
    "mode": ("scoring rule", _over("mode", ("flux", "paper", "sd3"))),
    "refine": ("refinement by the picture", _over("refine", ("none", "filter", "guided"))),
}


def sweep_steps(name: str, base: Settings, layer_count: int) -> Steps:
    """The settings of a sweep, each with its label."""
    return SWEEPS[name][1](base, range(layer_count))
