"""The figures of a check as text and as JSON, and where the paper's lie."""

from __future__ import annotations

import math
import textwrap
from typing import Any

from ...evaluation.report import PUBLISHED
from .checking import Check, Maps
from .cost import Cost

# What the paper prints, 0-1: of its figures those that are defined as here. Its average precision is that of a
# picture's one thing and of all around it; here it is that of each thing.
PAPER = {
    figure: [row[name] / 100 for rows in PUBLISHED.values() for row in rows.values() if name in row]
    for figure, name in (
        ("pixel_accuracy", "accuracy"),
        ("mean_iou", "mean_iou"),
        ("average_precision", "average_precision"),
    )
}
MARGIN = 0.05  # the pictures are others
TITLES = {"pixel_accuracy": "accuracy", "mean_iou": "mean IoU", "average_precision": "average precision"}


def place(figure: str, value: float) -> str:
    """Whether a figure lies where the paper's lie: `below`, `where the paper's lie` or `above`.

    >>> [place("mean_iou", value) for value in (0.4, 0.7, 0.9)]
    ['below', "where the paper's lie", 'above']
    """
    if value < min(PAPER[figure]) - MARGIN:
        return "below"
    return "above" if value > max(PAPER[figure]) + MARGIN else "where the paper's lie"


def facts(check: Check) -> dict[str, Any]:
    """All figures, ready for JSON; null where one is not defined or not measured."""
    maps, cost = check.maps, check.cost
    found = maps.evaluation
    return {
        "scenes": found.scenes,
        "width": found.width,
        "height": found.height,
        "frames": found.frames,
        "reading": maps.reading,
        "mode": found.mode,
        "layers": found.layers,
        "noise": maps.noise,
        "pixel_accuracy": found.pixel_accuracy,
        "mean_iou": found.mean_iou,
        "average_precision": None if math.isnan(found.average_precision) else found.average_precision,
        "absent_rate": found.absent_rate,
        "absence_auroc": None if math.isnan(maps.absence_auroc) else maps.absence_auroc,
        "paper": {figure: place(figure, value) for figure, value in _compared(maps).items()},
        "seconds_per_scene": maps.seconds,
        "time_ratio": cost.time,
        "memory_ratio": cost.memory,
        "bit_identical": cost.identical,
    }


def table(check: Check, model: str, taught: str = "") -> str:
    """The figures with what they mean."""
    maps, found = check.maps, check.maps.evaluation
    frames = f" and {found.frames} frames" if found.frames > 1 else ""
    lines = [
        f"{model}: {found.scenes} drawn scenes of {found.width} x {found.height} pixels{frames}, noise {maps.noise:g}",
        f"reading {maps.reading}, mode {found.mode}, layers {', '.join(map(str, found.layers))}, "
        f"{maps.seconds:.2f} s per scene",
        "",
        _line("pixel accuracy", found.pixel_accuracy, "share of tokens assigned to the true concept"),
        _line("mean IoU", found.mean_iou, "over the labels"),
        _line("mean AP", found.average_precision, "average precision of the concepts that a scene shows"),
        _line("absent rate", found.absent_rate, "share of tokens assigned to concepts not in the scene"),
        _line("absence AUROC", maps.absence_auroc, "whether a concept is there: 1 is always right, 0.5 is a guess"),
        *_cost_lines(check.cost),
        "",
        textwrap.fill(taught, 100) if taught else paper_lines(maps),
    ]
    return "\n".join(lines)


def paper_lines(maps: Maps) -> str:
    """Where the figures lie, compared with those that the paper prints."""
    places = [
        f"{TITLES[figure]} {value:.3f}: {place(figure, value)} ({min(PAPER[figure]):.3f} to {max(PAPER[figure]):.3f})"
        for figure, value in _compared(maps).items()
    ]
    return "\n".join(["The paper's figures are of photographs, with Flux.1-schnell and SD3.5.", *places])


def _compared(maps: Maps) -> dict[str, float]:
    """The figures that the paper prints as well; without those that are not defined for these scenes."""
    found = {figure: getattr(maps.evaluation, figure) for figure in PAPER}
    return {figure: value for figure, value in found.items() if not math.isnan(value)}


def _cost_lines(cost: Cost) -> list[str]:
    memory = "     -" if cost.memory is None else f"{cost.memory:6.3f}"
    return [
        f"{'time':<15} {cost.time:6.3f}   with recording / without, of {cost.seconds:.2f} s",
        f"{'memory':<15} {memory}   peak with recording / without",
        f"{'latent':<15} {'bit-identical with and without recording' if cost.identical else 'DIFFERS'}",
    ]


def _line(name: str, value: float, meaning: str) -> str:
    number = "     -" if math.isnan(value) else f"{value:6.3f}"
    return f"{name:<15} {number}   {meaning}"
