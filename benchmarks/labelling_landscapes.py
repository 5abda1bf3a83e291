"""Drawn landscapes labelled as a data set, and the masks compared with the truth, pixel by pixel.

    python -m benchmarks.labelling_landscapes --count 10000 --folder DIR [--check]

The scenes are drawn into a folder and labelled by the command line with all words of the landscape model at once, as
someone would who knows what may be in a collection but not what is in which picture. Run again, it goes on.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from concept_attention.evaluation.metrics import NO_CLASS, ConfusionMatrix
from concept_attention.tiny.evaluation.landscapes import unseen_seed
from concept_attention.tiny.world.scenes import LABELS, Scene, draw_scene

SIDE = 256
SEED = 20
NOISE = 0.3
BAR = 0.95  # share of pixels that get the label they have


def scene(number: int) -> Scene:
    return draw_scene(unseen_seed(SEED, number), SIDE, SIDE)


def draw(folder: Path, count: int) -> None:
    """Draw the scenes that are not there yet."""
    folder.mkdir(parents=True, exist_ok=True)
    for number in range(count):
        file = folder / f"{number:06}.png"
        if not file.exists():
            Image.fromarray(scene(number).image).save(file, compress_level=1)


def label(pictures: Path, out: Path, workers: int) -> None:
    """Label them with the command line."""
    command = [sys.executable, "-m", "concept_attention", "label", str(pictures), "--concepts", *LABELS]
    command += ["--format", "coco", "--noise", str(NOISE), "--out", str(out), "--devices", "cpu"]
    subprocess.run([*command, "--workers", str(workers)], check=True)  # noqa: S603 - this project's own


def score(out: Path) -> dict[str, Any]:
    """Compare `annotations.json` with the truth."""
    from pycocotools.coco import COCO

    found = COCO(str(out / "annotations.json"))
    matrix = ConfusionMatrix(len(LABELS))
    right = wrong = missed = 0  # concepts in a picture
    for image in found.imgs.values():
        truth = scene(int(Path(image["file_name"]).stem)).labels
        given = np.full(truth.shape, NO_CLASS)
        shown = set()
        for annotation in found.imgToAnns[image["id"]]:
            label = LABELS.index(found.cats[annotation["category_id"]]["name"])
            given[found.annToMask(annotation).astype(bool)] = label
            shown.add(label)
        matrix.update(torch.from_numpy(given), torch.from_numpy(truth.astype(np.int64)))
        there = {int(label) for label in np.unique(truth)}
        right, wrong, missed = right + len(shown & there), wrong + len(shown - there), missed + len(there - shown)
    return {
        "pictures": len(found.imgs),
        "pixel_accuracy": matrix.pixel_accuracy(),
        "mean_iou": matrix.mean_iou(),
        "iou": {LABELS[label]: iou for label, iou in matrix.class_iou().items()},
        "precision": right / max(1, right + wrong),  # of concepts that have a mask at all
        "recall": right / max(1, right + missed),
    }


def main(arguments: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(
        prog="benchmarks.labelling_landscapes", description=(__doc__ or "").splitlines()[0]
    )
    parser.add_argument("--count", type=int, default=10_000, help="scenes (10000)")
    parser.add_argument("--workers", type=int, default=1, help="workers (1)")
    parser.add_argument("--folder", type=Path, help="for pictures and labels; kept (default: a temporary one)")
    parser.add_argument("--check", action="store_true", help="exit with 1 if the accuracy is below the bar")
    options = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory() as temporary:
        folder = options.folder or Path(temporary)
        draw(folder / "pictures", options.count)
        began = time.monotonic()
        label(folder / "pictures", folder / "labels", options.workers)
        seconds = time.monotonic() - began
        report = {**score(folder / "labels"), "seconds": round(seconds, 1)}
    print(json.dumps(report, indent=2))
    good = report["pixel_accuracy"] >= BAR
    print(f"{'met' if good else 'MISSED'}: at least {BAR} of all pixels get the label that they have")
    return int(options.check and not good)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
