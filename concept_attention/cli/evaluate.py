"""`concept-attention evaluate`: measure a model's heatmaps on drawn scenes whose true concept maps are known."""

from __future__ import annotations

import math
import textwrap
from argparse import Namespace
from collections.abc import Mapping
from typing import Any

from ..errors import UserError
from ..files import write_json
from ..selection import parse_layers
from ..tiny.evaluation.agreement import Evaluation
from ..tiny.evaluation.landscapes import MOST_SCENES, evaluate_landscapes
from .folder import prepared_file
from .model import describe, load, model_facts
from .progress import Clock, progress_bar


def run(arguments: Namespace) -> None:
    """Run the command; raises `UserError` for arguments that cannot be used."""
    if arguments.count > MOST_SCENES:
        raise UserError(f"--count must be at most {MOST_SCENES}, got {arguments.count}.")
    with prepared_file(arguments.json) as path:
        clock = Clock()
        pipeline = load(arguments)
        model = describe(pipeline)
        parse_layers(arguments.layers, model.joint_blocks, model.default_layers)
        clock.lap("load")
        settings = {
            name: getattr(arguments, name)
            for name in ("noise", "samples", "prompt", "pooling", "temperature", "width", "height", "frames")
        }
        with progress_bar("Evaluating", "scene", arguments.count, arguments.quiet) as on_scene:
            evaluation = evaluate_landscapes(
                pipeline,
                arguments.count,
                arguments.seed,
                layers=arguments.layers,
                mode=arguments.mode,
                on_scene=on_scene,
                **settings,
            )
        clock.lap("evaluate")
        report = {
            **_metrics(evaluation),
            "dataset": arguments.dataset,
            "count": evaluation.scenes,
            "seed": arguments.seed,
            "layers": evaluation.layers,
            "mode": evaluation.mode,
            **settings,
            "width": evaluation.width,
            "height": evaluation.height,
            "frames": evaluation.frames,
            **model_facts(arguments, pipeline),
            "seconds": clock.seconds["evaluate"],
        }
        if path is not None:
            write_json(report, path)
    print(_table(report))
    if path is not None:
        print(f"\nWrote {path}")


def _metrics(evaluation: Evaluation) -> dict[str, Any]:
    """The metrics, ready for JSON; null if undefined."""
    names = ("pixel_accuracy", "mean_iou", "average_precision", "absent_rate")
    by_class = {label: _number(value) for label, value in evaluation.per_class_iou.items()}
    of_clips = {"frame_accuracy": evaluation.frame_accuracy, "moving_iou": _number(evaluation.moving_iou)}
    return {
        **{name: _number(getattr(evaluation, name)) for name in names},
        **(of_clips if evaluation.frames > 1 else {}),
        "per_class_iou": by_class,
    }


def _number(value: float) -> float | None:
    return None if math.isnan(value) else value


def _table(report: Mapping[str, Any]) -> str:
    """The report as text."""
    layers = ", ".join(map(str, report["layers"]))
    frames = f" and {report['frames']} frames" if report["frames"] > 1 else ""
    prompt = "the caption as prompt" if report["prompt"] == "caption" else "no prompt"
    lines = [
        f"{report['dataset']}: {_plural(report['count'], 'scene')} (seed {report['seed']}) of "
        f"{report['width']} x {report['height']} pixels{frames} with {report['model']}, {report['seconds']:.1f} s",
        f"layers {layers}; mode {report['mode']}; {_plural(report['samples'], 'noise sample')} at sigma "
        f"{report['noise']:g}; {prompt}",
        "",
        f"pixel accuracy     {_format(report['pixel_accuracy'])}   share of tokens assigned to the true concept",
        f"mean IoU           {_format(report['mean_iou'])}   over the classes below",
        f"average precision  {_format(report['average_precision'])}   mean over scenes and the concepts they show",
        f"absent rate        {_format(report['absent_rate'])}   share of tokens assigned to concepts not in the scene",
        *_clip_lines(report),
        "",
        "IoU by class",
        *_columns([f"{label:<9}{_format(iou)}" for label, iou in report["per_class_iou"].items()], 4),
    ]
    return "\n".join([*lines, "", textwrap.fill(report["note"], 100)] if report["note"] else lines)


def _clip_lines(report: Mapping[str, Any]) -> list[str]:
    """Lines of the table that only clips have."""
    if report["frames"] == 1:
        return []
    worst = min(report["frame_accuracy"])
    return [
        f"worst frame        {_format(worst)}   lowest pixel accuracy of a frame, over all clips",
        f"moving IoU         {_format(report['moving_iou'])}   mean over clips, moving things and frames",
    ]


def _plural(count: int, noun: str) -> str:
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"


def _format(value: float | None) -> str:
    return "    -" if value is None else f"{value:.3f}"


def _columns(cells: list[str], count: int) -> list[str]:
    """Lines of `count` columns, filled downwards, from cells of equal width."""
    rows = math.ceil(len(cells) / count)
    return ["    ".join(cells[row::rows]) for row in range(rows)]
