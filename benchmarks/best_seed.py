"""What Best Seed by Concepts saves, and how often its early choice is the one that the finished images would give.

    python -m benchmarks.best_seed [--prompts N] [--seeds N] [--part P] [--check]

Each prompt is sampled with the landscape model in ComfyUI's library: with all seeds to the end, and by the node's own
function, which samples each seed for a part of its steps and finishes one. The ratio of times is of one run, in time of
the processor. A seed's score is the presence of its least present concept, of the whole run and of its checked step.
"""

from __future__ import annotations

import argparse
import functools
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from tqdm import tqdm

import dev
from concept_attention.concepts import parse_concepts
from concept_attention.heatmaps.presence import find_present
from dev_comfyui import import_library

from .landscape import PROMPTS

ROOT = Path(__file__).resolve().parent.parent
STEPS, CFG, SIDE = 20, 3.0, 256
NEAR = 0.05  # of the best score: as good


def main(argv: Sequence[str] | None = None) -> int:
    """Run the benchmark; 1 if `--check` is given and a bar is missed."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.best_seed", description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--prompts", type=int, default=len(PROMPTS), help="only so many")
    parser.add_argument("--seeds", type=int, default=4, help="(%(default)s)")
    parser.add_argument("--part", type=float, default=0.4, help="(%(default)s)")
    parser.add_argument("--check", action="store_true", help="exit with 1 if a bar is missed")
    options = parser.parse_args(argv)
    comfyui = dev.find_comfyui(ROOT)
    if comfyui is None:
        parser.error("There is no ComfyUI to measure in. Set COMFYUI_PATH to its folder.")
    torch.set_num_threads(1)
    import_library(comfyui, ["--cpu"])
    from concept_attention.hosts.comfyui.best_of import choose_best, sample_best
    from concept_attention.hosts.comfyui.encoding.encode import encode_concepts
    from concept_attention.hosts.comfyui.engine.settings import Settings
    from concept_attention.hosts.comfyui.sampling import sample
    from concept_attention.tiny.comfyui.loader import load_landscape

    model, clip, _ = load_landscape()

    def cond(text: str) -> Any:
        return clip.encode_from_tokens_scheduled(clip.tokenize(text))

    seconds = {"all seeds": 0.0, "best seed": 0.0}
    steps = {"all seeds": 0, "best seed": 0}
    best, near = 0, 0
    for text, names in tqdm(PROMPTS[: options.prompts]):
        concepts = parse_concepts(names)
        wanted = [concept.name for concept in concepts]
        settings = Settings(encode_concepts(clip, concepts))
        run = functools.partial(
            sample, model, steps=STEPS, cfg=CFG, sampler_name="lcm", scheduler="simple", positive=cond(text),
            negative=cond(""), latent={"samples": torch.zeros(1, 16, SIDE // 8, SIDE // 8)},
        )  # fmt: skip
        began = time.process_time()
        finished = [run(settings=settings, seed=seed)[1] for seed in range(options.seeds)]
        middle = time.process_time()
        *_, trials = sample_best(run, settings, 0, options.seeds, wanted, options.part)
        seconds["all seeds"] += middle - began
        seconds["best seed"] += time.process_time() - middle
        steps["all seeds"] += options.seeds * STEPS
        steps["best seed"] += sum(STEPS - trial.steps_left for trial in trials) + STEPS
        scores = [min(one.score for one in find_present(recording)) for recording in finished]
        chosen = scores[choose_best(trials).seed]
        best += chosen == max(scores)
        near += chosen >= max(scores) - NEAR
    count = len(PROMPTS[: options.prompts])
    time_ratio, step_ratio = (one["best seed"] / one["all seeds"] for one in (seconds, steps))
    print(
        f"{count} prompts, {options.seeds} seeds, {STEPS} steps, checked after {options.part:.0%}\n"
        f"steps: {steps['best seed']} instead of {steps['all seeds']} ({step_ratio:.2f} times); "
        f"time {time_ratio:.2f} times\n"
        f"the chosen seed is the best of the finished images for {best / count:.0%} of the prompts, and within "
        f"{NEAR:g} of it for {near / count:.0%}"
    )
    missed = time_ratio > step_ratio + 0.05
    if missed:
        print("MISSED: checking costs more than 5 % of sampling all seeds.")
    return int(options.check and missed)


if __name__ == "__main__":
    sys.exit(main())
