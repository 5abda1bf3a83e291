"""Maps of the landscape model that nobody taught where concepts are, beside one of the same size that was taught.

For every reading, prompt and noise level: the figures of `concept-attention check` on scenes that no training step saw.
The one is read in ComfyUI's library, on the CPU, the taught one in diffusers.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from typing import get_args

from concept_attention.hosts.diffusers import load_pipeline
from concept_attention.tiny.check.checking import Maps, measure_maps
from concept_attention.tiny.check.in_diffusers import InDiffusers
from concept_attention.tiny.check.subject import Subject
from concept_attention.tiny.evaluation.landscapes import Prompt
from tests.support.comfyui.boot import boot

TAUGHT = "tiny-sd3"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=200, help="unseen scenes (default 200)")
    parser.add_argument("--seed", type=int, default=0, help="which scenes (default 0); settings were chosen on others")
    parser.add_argument("--layers", default="auto", help="layers to read in the model that was not taught")
    parser.add_argument("--noise", type=float, nargs="+", default=(0.3, 0.5, 0.7, 0.85), help="levels, 0-1")
    arguments = parser.parse_args()
    boot()
    print("model     reading  prompt   noise  accuracy  mean IoU  absent rate  absence AUROC  layers", flush=True)
    for model, shown, subject in _subjects(arguments.layers):
        for noise in arguments.noise:
            maps = measure_maps(subject, arguments.count, arguments.seed, noise)
            print(f"{model:<8}  {maps.reading:<7}  {shown:<7}  {noise:5.2f}  {row(maps)}", flush=True)


def _subjects(layers: str) -> Iterator[tuple[str, str, Subject]]:
    from concept_attention.tiny.check.in_comfyui import InComfyUI
    from concept_attention.tiny.comfyui.sd import load_landscape_sd

    parts = load_landscape_sd()
    pipeline = load_pipeline(TAUGHT, device="cpu")
    pipeline.set_progress_bar_config(disable=True)
    shown: Prompt
    for mode in ("cross", "gram"):
        for shown in get_args(Prompt):
            yield "tiny-sd", shown, InComfyUI(*parts, 128, 128, mode, layers, shown)
    for shown in get_args(Prompt):
        yield TAUGHT, shown, InDiffusers(pipeline, prompt=shown)


def row(maps: Maps) -> str:
    """The figures of one line."""
    found = maps.evaluation
    layers = ", ".join(map(str, found.layers))
    return (
        f"{found.pixel_accuracy:8.3f}  {found.mean_iou:8.3f}  {found.absent_rate:11.3f}  {maps.absence_auroc:13.3f}  "
        f"{layers}"
    )


if __name__ == "__main__":
    main()
