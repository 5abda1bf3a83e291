"""`concept-attention evaluate`: measure a model's heatmaps on drawn scenes whose true concept maps are known."""

from __future__ import annotations

import math
import textwrap
from argparse import Namespace
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from ..files import write_json
from ..selection import parse_layers
from ..tiny.evaluation.agreement import Evaluation
from ..tiny.evaluation.landscapes import MOST_SCENES, evaluate_landscapes
from .folder import prepared_folder
from .model import caution, describe, load, model_facts
from .progress import Clock, progress_bar


def run(arguments: Namespace) -> None:
    """Do what the command line says; a ValueError says what is wrong with it."""
    if arguments.count > MOST_SCENES:
        raise ValueError(f"Scenes can be counted up to {MOST_SCENES}, got {arguments.count}. Lower --count.")
    with _prepared_file(arguments.json) as path:
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
        figures = {
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
            "note": caution(pipeline),
        }
        if path is not None:
            write_json(figures, path)
    print(_table(figures))
    if path is not None:
        print(f"\nWrote {path}")


@contextmanager
def _prepared_file(path: Path | None) -> Iterator[Path | None]:
    """Check before the work that a file can be written."""
    if path is None:
        yield None
        return
    if path.is_dir():
        raise ValueError(f"{path} is a folder, expected a file for the figures. Choose another name.")
    with prepared_folder(path.parent) as folder:
        yield folder / path.name


def _metrics(evaluation: Evaluation) -> dict[str, Any]:
    """The figures, ready for JSON: where there is none, null."""
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


def _table(figures: Mapping[str, Any]) -> str:
    """The figures for people."""
    layers = ", ".join(map(str, figures["layers"]))
    samples = _counted(figures["samples"], "noise sample")
    prompt = "the caption as prompt" if figures["prompt"] == "caption" else "no prompt"
    lines = [
        f"{figures['dataset']}: {_counted(figures['count'], 'scene')} (seed {figures['seed']}) of "
        f"{figures['width']} x {figures['height']} pixels{_length(figures['frames'])} with {figures['model']}, "
        f"{figures['seconds']:.1f} s",
        f"layers {layers}; mode {figures['mode']}; {samples} at sigma {figures['noise']:g}; {prompt}",
        "",
        f"pixel accuracy     {_shown(figures['pixel_accuracy'])}   share of tokens whose concept is the true one",
        f"mean IoU           {_shown(figures['mean_iou'])}   over the classes below",
        f"average precision  {_shown(figures['average_precision'])}   mean over scenes and the concepts they show",
        f"absent rate        {_shown(figures['absent_rate'])}   share of tokens won by concepts that are not there",
        *_moving(figures),
        "",
        "IoU by class",
        *_columns([f"{label:<9}{_shown(iou)}" for label, iou in figures["per_class_iou"].items()], 4),
    ]
    return "\n".join([*lines, "", textwrap.fill(figures["note"], 100)] if figures["note"] else lines)


def _length(frames: int) -> str:
    return f" and {frames} frames" if frames > 1 else ""


def _moving(figures: Mapping[str, Any]) -> list[str]:
    """What there is to say of clips beside."""
    if figures["frames"] == 1:
        return []
    return [
        f"worst frame        {_shown(min(figures['frame_accuracy']))}   pixel accuracy of one frame of all clips",
        f"moving IoU         {_shown(figures['moving_iou'])}   mean over clips, the things that move and frames",
    ]


def _counted(count: int, what: str) -> str:
    return f"{count} {what}" if count == 1 else f"{count} {what}s"


def _shown(value: float | None) -> str:
    return "    -" if value is None else f"{value:.3f}"


def _columns(cells: list[str], count: int) -> list[str]:
    """Cells of one width in `count` columns, read downwards."""
    rows = math.ceil(len(cells) / count)
    return ["    ".join(cells[row::rows]) for row in range(rows)]
