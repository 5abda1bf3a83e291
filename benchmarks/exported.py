"""The whole benchmark on drawn scenes that are exported in the formats of PASCAL VOC and ImageNet-Segmentation.

Run `python -m benchmarks.exported --out DIR`: data sets, readers, protocols, sweeps, tables and figures, end to end.
The maps of the landscape models are taught, so the figures say that all this works and nothing about the method.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from concept_attention.cli import main as command_line
from concept_attention.embedded import EMBEDDED
from concept_attention.evaluation.datasets.example import Example
from concept_attention.evaluation.datasets.export import write_imagenet, write_voc
from concept_attention.tiny.evaluation.dataset import Landscapes
from concept_attention.tiny.world.scenes import COLORS, GROUNDS, LABELS, OBJECTS, SKY

BACKGROUND = (SKY, *GROUNDS)
SWEEPS = ("space", "softmax", "attends", "layers", "noise", "samples", "concepts", "low", "mode")
VOC_CLASSES = (*OBJECTS, *COLORS)  # 20 words that the models know; nothing is labelled as a colour


def things_only(scene: Example) -> Example:
    """Labels 1 to 11 for the things, 0 for sky and grounds."""
    table = np.array([OBJECTS.index(name) + 1 if name in OBJECTS else 0 for name in LABELS], dtype=np.uint8)
    return Example(scene.id, scene.image, table[scene.labels], {})


def largest_only(scene: Example) -> Example:
    """The largest thing alone; all else is background."""
    areas = np.bincount(scene.labels.ravel(), minlength=len(OBJECTS) + 1)[1:]
    labels = np.where(scene.labels == areas.argmax() + 1, scene.labels, 0).astype(np.uint8)
    return Example(scene.id, scene.image, labels, {})


def export(folder: Path, count: int, side: int) -> None:
    """Write `voc`, `voc-single` and `imagenet` below the folder, with their word lists."""
    landscapes = Landscapes(0, side, count)
    scenes = [things_only(landscapes[index]) for index in range(count)]
    alone = [largest_only(scene) for scene in scenes]
    write_voc(scenes, folder / "voc")
    write_voc(alone, folder / "voc-single")
    (folder / "voc.txt").write_text("\n".join(VOC_CLASSES), encoding="utf-8")
    of_synset = {f"n{number + 1:08d}": name for number, name in enumerate(OBJECTS)}
    named = [
        Example(f"n{int(scene.labels.max()):08d}_{number}", scene.image, scene.labels, {})
        for number, scene in enumerate(alone)
    ]
    (folder / "imagenet").mkdir(parents=True, exist_ok=True)
    write_imagenet(named, folder / "imagenet")
    (folder / "imagenet.json").write_text(json.dumps(of_synset), encoding="utf-8")


def commands(folder: Path, model: str) -> list[list[str]]:
    """The arguments of every command."""
    common = ["--model", model, "--background", *BACKGROUND, "--quiet"]
    voc = ["--names", str(folder / "voc.txt"), *common]
    imagenet = ["imagenet-seg", "--data", str(folder / "imagenet"), "--names", str(folder / "imagenet.json"), *common]
    imagenet += ["--protocol", "paper"]
    single = ["voc-single", "--data", str(folder / "voc-single"), *voc]
    multi = ["--data", str(folder / "voc"), *voc]
    runs = [
        [*imagenet, "--out", "imagenet"],
        [*imagenet, "--method", "centre", "--out", "imagenet-centre"],
        [*single, "--protocol", "paper", "--out", "voc-single"],
        ["voc", *multi, "--protocol", "paper", "--out", "voc"],
        ["voc21", *multi, "--protocol", "proper", "--sweep", "refine", "--out", "voc21"],
    ]
    runs += [[*imagenet, "--samples", "1", "--sweep", name, "--out", "imagenet"] for name in SWEEPS]
    return [["benchmark", *run[:-1], str(folder / "results" / run[-1])] for run in runs]


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True, help="folder for data, results and figures")
    parser.add_argument("--count", type=int, default=12, help="scenes (default 12)")
    parser.add_argument("--side", type=int, default=256, help="pixels of their sides (default 256)")
    parser.add_argument("--model", choices=EMBEDDED, default="tiny")
    arguments = parser.parse_args(argv)
    export(arguments.out, arguments.count, arguments.side)
    for command in commands(arguments.out, arguments.model):
        code = command_line(command)
        if code:
            return code
        print(flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
