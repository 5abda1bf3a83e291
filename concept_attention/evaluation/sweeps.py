"""Sweeps: the ablations of arXiv:2502.04320 and a few more, each a list of settings that differ in one thing."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from ..errors import UserError
from .settings import Settings

Steps = list[tuple[str, Settings]]
Model = Mapping[str, Any]  # `layer_count` and `reading`


def _over(name: str, values: Sequence[object]) -> Callable[[Settings, Model], Steps]:
    return lambda base, model: [
        ("whole" if value is None else str(value), _with(base, name, value)) for value in values
    ]


def _with(base: Settings, name: str, value: Any) -> Settings:
    return replace(base, **{name: value})


def _layers(base: Settings, model: Model) -> Steps:
    every = [("auto", replace(base, recorded="all")), ("all", replace(base, recorded="all", layers="all"))]
    single = map(str, range(model["layer_count"]))
    return every + [(layer, replace(base, recorded="all", layers=layer)) for layer in single]


def _noise(base: Settings, model: Model) -> Steps:
    return [(f"{tenth / 10:g}", replace(base, noise=tenth / 10)) for tenth in range(1, 10)]


def _softmax(base: Settings, model: Model) -> Steps:
    return [("softmax", replace(base, softmax=True)), ("none", replace(base, softmax=False))]


def _flip(base: Settings, model: Model) -> Steps:
    return [("picture", replace(base, flip=False)), ("mirrored, too", replace(base, flip=True))]


def _modes(base: Settings, model: Model) -> Steps:
    """The rules of concept attention, where there is any, and the other readings."""
    joint = ("flux", "paper", "sd3") if model["reading"] == "concept" else ()
    return _over("mode", (*joint, "cross", "gram"))(base, model)


def _background(base: Settings, model: Model) -> Steps:
    if not base.background:
        raise UserError("The sweep over concepts takes background words away one by one: give some with --background.")
    return [(str(n), replace(base, background=base.background[:n])) for n in range(len(base.background) + 1)]


# By the name that users write: what varies, for people, and the settings.
SWEEPS: Mapping[str, tuple[str, Callable[[Settings, Model], Steps]]] = {
    "space": ("vectors that are compared", _over("method", ("concept", "value", "cross"))),
    "softmax": ("softmax over concepts", _softmax),
    "attends": ("what concepts attend to", _over("attends", ("both", "image", "concepts", "itself"))),
    "layers": ("joint block", _layers),
    "noise": ("noise level", _noise),
    "samples": ("noise samples", _over("samples", (1, 2, 3, 5, 8))),
    "flip": ("what is looked at", _flip),
    "concepts": ("background concepts", _background),
    "low": ("longer side of the picture in pixels", _over("low", (32, 64, 128, None))),
    "mode": ("scoring rule", _modes),
    "refine": ("refinement by the picture", _over("refine", ("none", "filter", "guided"))),
}


def sweep_steps(name: str, base: Settings, model: Model) -> Steps:
    """The settings of a sweep, each with its label."""
    return SWEEPS[name][1](base, model)
