"""What a second prompt changes inside and outside of a concept's place, found in the same run; and what that costs.

    python -m benchmarks.regions [--check] [--json FILE] [--sheet FILE]
    python -m benchmarks.regions --only cost

Pairs of prompts are sampled with the landscape model: the base prompt, the other one everywhere, the other one by a
mask of the finished base picture (two passes), and live with both ways of ConceptRegion. A thing's outline is its share
map in the finished base picture, sharpened along that picture's edges. Changes are mean absolute differences of pixels,
0-255, from the base picture; those of the latent outside of the mask are exact. Pairs of one kind are pooled.

Costs are ratios of medians of random Flux models (512 and 1,024 wide, 1,024 tokens), whose runs take turns, in time of
the processor: a region against the sum of its prompts' own evaluations, a LoRA in a place against a run without it.
"""

from __future__ import annotations

import argparse
import gc
import statistics
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from PIL import Image
from torch import Tensor
from tqdm import tqdm

import dev
from concept_attention.files import save_image, write_json
from dev_comfyui import import_library

from .measure import peak_resident

if TYPE_CHECKING:
    from .regions_runs import Landscapes

ROOT = Path(__file__).resolve().parent.parent
SEEDS = (1, 2, 3)


class Pair(NamedTuple):
    """A base prompt, another one, the concept in whose place it counts, and the concepts."""

    base: str
    other: str
    concept: str
    concepts: str


def _recoloured(prompt: str, colour: str, other: str, concepts: str) -> Pair:
    """A pair that differs in the colour of the first concept."""
    return Pair(prompt.format(colour), prompt.format(other), concepts.partition(",")[0], concepts)


ATTRIBUTES = (
    _recoloured("a {} house on grass under the sky", "white", "red", "house, grass, sky"),
    _recoloured("a {} house and a tree on grass", "red", "blue", "house, tree, grass, sky"),
    _recoloured("snow and sky with a {} house", "green", "yellow", "house, snow, sky"),
    _recoloured("a {} house on sand under the sky", "yellow", "purple", "house, sand, sky"),
    _recoloured("a {} car on snow", "red", "blue", "car, snow, sky"),
    _recoloured("a {} car and a tree on grass", "blue", "yellow", "car, tree, grass, sky"),
    _recoloured("a {} car and a sun on grass", "yellow", "red", "car, sun, grass, sky"),
    _recoloured("a {} car on sand", "white", "green", "car, sand, sky"),
    _recoloured("a {} boat on water under the sky", "white", "red", "boat, water, sky"),
    _recoloured("a {} boat and a sun, water, sky", "red", "blue", "boat, sun, water, sky"),
    _recoloured("a {} boat on water", "yellow", "purple", "boat, water, sky"),
    _recoloured("a {} boat and a cloud, water, sky", "green", "white", "boat, cloud, water, sky"),
    _recoloured("a {} flower and a rock on grass", "yellow", "red", "flower, rock, grass, sky"),
    _recoloured("a {} flower on sand", "red", "white", "flower, sand, sky"),
    _recoloured("a {} flower on grass", "purple", "yellow", "flower, grass, sky"),
    _recoloured("a {} flower and a tree on snow", "white", "red", "flower, tree, snow, sky"),
    _recoloured("a {} balloon in the sky over sand", "red", "blue", "balloon, sand, sky"),
    _recoloured("a {} balloon and a house on sand", "purple", "green", "balloon, house, sand, sky"),
    _recoloured("a {} balloon and a cloud in the sky over grass", "red", "yellow", "balloon, cloud, grass, sky"),
    _recoloured("a {} balloon in the sky over water", "blue", "red", "balloon, water, sky"),
)
THINGS = (
    Pair("a house on grass under the sky", "a tree on grass under the sky", "house", "house, grass, sky"),
    Pair("a car on snow", "a rock on snow", "car", "car, snow, sky"),
    Pair("a boat on water under the sky", "a mountain on water under the sky", "boat", "boat, water, sky"),
    Pair("a balloon in the sky over sand", "a cloud in the sky over sand", "balloon", "balloon, sand, sky"),
)
SURFACES = (
    Pair("a house on grass under the sky", "a house on snow under the sky", "grass", "house, grass, sky"),
    Pair("a tree on sand under the sky", "a tree on grass under the sky", "sand", "tree, sand, sky"),
    Pair("a house on grass under the blue sky", "a house on grass under the night sky", "sky", "house, grass, sky"),
    Pair("a boat on water under the blue sky", "a boat on water under the sunset sky", "sky", "boat, water, sky"),
)
KINDS = {"attributes of a thing": ATTRIBUTES, "things": THINGS, "grounds and skies": SURFACES}
ABSENT = ("a house on grass under the sky", "boat", "boat, house, grass, sky")
WAYS = ("everywhere", "two passes", "blend", "keep the rest")
BARS = {
    "inside, blend": 0.8,  # of what the prompt changes there when it applies everywhere: at least
    "inside, keep the rest": 0.8,
    "outside, blend": 0.5,  # of what it changes there when it applies everywhere: at most
    "outside, keep the rest": 0.0,  # in the latent, outside of the mask: at most
    "cost of a region": 1.05,  # of the sum of its prompts' own evaluations: at most
    "cost of a LoRA": 1.10,  # of one evaluation: at most
}


def main(argv: Sequence[str] | None = None) -> int:
    """Run the benchmark; 1 if `--check` is given and a bar is missed."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.regions", description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--steps", type=int, default=20, help="(%(default)s)")
    parser.add_argument("--start", type=float, help="see ConceptRegion")
    parser.add_argument("--freeze", type=float, help="see ConceptRegion")
    parser.add_argument("--pairs", type=int, help="only so many of each kind")
    parser.add_argument("--only", choices=("change", "cost", "memory"), help="only a part")
    parser.add_argument("--runs", type=int, default=200, help="runs whose memory is compared (%(default)s)")
    parser.add_argument("--sheet", type=Path, help="write the pictures of the first seed there")
    parser.add_argument("--json", type=Path, help="file to write all numbers to")
    parser.add_argument("--check", action="store_true", help="exit with 1 if a bar is missed")
    options = parser.parse_args(argv)
    comfyui = dev.find_comfyui(ROOT)
    if comfyui is None:
        parser.error("There is no ComfyUI to measure in. Set COMFYUI_PATH to its folder.")
    import_library(comfyui, ["--cpu"])
    from .regions_runs import Landscapes

    landscapes = Landscapes(options.steps, {name: getattr(options, name) for name in ("start", "freeze")})
    report: dict[str, Any] = {}
    values: dict[str, float] = {}
    if options.only in (None, "change"):
        report["change"], values = changes(landscapes, options.pairs, options.sheet)
        report["absent"] = absent(landscapes)
    if options.only in (None, "cost"):
        report["cost"] = costs()
        values |= {f"cost of a {what}": ratio for what, ratio in report["cost"].items() if f"cost of a {what}" in BARS}
    if options.only in (None, "memory"):
        report["memory"] = memory(landscapes, options.runs)
    report["bars"] = {
        name: {"value": value, "bar": BARS[name], "met": _met(name, value)} for name, value in values.items()
    }
    for name, bar in report["bars"].items():
        print(f"{name:24} {bar['value']:.3f}  bar {bar['bar']:.2f}  {'met' if bar['met'] else 'MISSED'}")
    if options.json:
        write_json(report, options.json)
    return int(options.check and not all(bar["met"] for bar in report["bars"].values()))


def _met(name: str, value: float) -> bool:
    return value >= BARS[name] if name.startswith("inside") else value <= BARS[name]


@torch.inference_mode()
def changes(landscapes: Landscapes, count: int | None, sheet: Path | None) -> tuple[dict[str, Any], dict[str, float]]:
    """Changes inside and outside by kind of pair and by way, and the values of the bars."""
    report: dict[str, Any] = {}
    rows: list[Tensor] = []
    leak = 0.0
    for kind, pairs in KINDS.items():
        found: dict[str, list[tuple[float, float]]] = {way: [] for way in WAYS}
        for pair in tqdm(pairs[:count], desc=kind):
            for seed in SEEDS:
                case = landscapes.case(pair, seed)
                leak = max(leak, case.latent_leak)
                for way in WAYS:
                    found[way].append(case.change(way))
                if seed == SEEDS[0]:
                    rows.append(case.row())
        report[kind] = {way: [statistics.fmean(side) for side in zip(*found[way], strict=True)] for way in WAYS}
        base = report[kind]["everywhere"]
        print(f"{kind}, {len(pairs[:count])} pairs x {len(SEEDS)} seeds: change inside, outside (of everywhere's)")
        for way, (inside, outside) in report[kind].items():
            print(f"  {way:14} {inside:6.1f} {outside:6.1f}   {inside / base[0]:.2f}  {outside / base[1]:.2f}")
    print(f"keep the rest: greatest difference of the latent outside of the mask {leak:g}")
    if sheet is not None:
        pixels = (torch.cat(rows, dim=0) * 255).round().to(torch.uint8).numpy()
        save_image(Image.fromarray(pixels), sheet)
    base, ways = report["attributes of a thing"]["everywhere"], report["attributes of a thing"]
    values = {f"inside, {way}": ways[way][0] / base[0] for way in ("blend", "keep the rest")}
    values |= {"outside, blend": ways["blend"][1] / base[1], "outside, keep the rest": leak}
    return report, values


@torch.inference_mode()
def absent(landscapes: Landscapes) -> dict[str, int]:
    """How many runs with a region for something that is not in the picture are bit-identical to the plain run."""
    base, concept, concepts = ABSENT
    pair = Pair(base, f"{base} and a red boat", concept, concepts)
    same = sum(
        torch.equal(landscapes.base(pair, seed).latent, landscapes.region(pair, seed, "blend")[0]) for seed in range(10)
    )
    print(f"region of an absent concept: {same} of 10 latents are bit-identical to the plain run's")
    return {"identical": same, "of": 10}


@torch.inference_mode()
def costs(rounds: int = 3) -> dict[str, float]:
    """Ratios of time: medians over rounds in which all ways take turns."""
    from .regions_runs import Costs

    regions = Costs(512, 2, 2).ways()
    median = _medians({name: run for name, run in regions.items() if not name.startswith("LoRA")}, rounds)
    own = median["base prompt, before"] + median["both prompts, after"]
    report = {
        "region": median["blend"] / own,
        "region that keeps the rest": median["keep the rest"] / (median["base prompt"] + median["other prompt, after"]),
    }
    # What a LoRA costs beside its layer falls with the width.
    loras = Costs(1024, 1, 2).ways()
    median = _medians({name: loras[name] for name in ("base prompt", "LoRA everywhere", "LoRA in a place")}, rounds)
    report["LoRA"] = median["LoRA in a place"] / median["base prompt"]
    report["LoRA, of one that is everywhere"] = median["LoRA in a place"] / median["LoRA everywhere"]
    for name, ratio in report.items():
        print(f"cost of a {name}: {ratio:.3f} times")
    return report


def _medians(ways: Mapping[str, Callable[[], object]], rounds: int) -> dict[str, float]:
    """Seconds of every way, after one round to warm up."""
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    for number in range(rounds + 1):
        for name in list(ways)[:: 1 if number % 2 else -1]:
            seconds[name].append(_seconds(ways[name]))
    return {name: statistics.median(times[1:]) for name, times in seconds.items()}


def _seconds(run: Callable[[], object]) -> float:
    """The processor's time: what other processes take does not count."""
    start = time.process_time()
    run()
    return time.process_time() - start


@torch.inference_mode()
def memory(landscapes: Landscapes, runs: int) -> dict[str, float]:
    """Growth of the process's peak memory over many small runs, after a tenth of them, in MiB."""
    peaks = []
    for number in range(runs):
        landscapes.small_run(number)
        if number + 1 in (runs // 10, runs):
            gc.collect()
            peaks.append(peak_resident() / 2**20)
    growth = peaks[-1] - peaks[0]
    print(f"memory: {growth:+.1f} MiB of peak from run {runs // 10} to run {runs}, of {peaks[0]:.0f} MiB")
    return {"growth": growth, "runs": runs}


if __name__ == "__main__":
    sys.exit(main())
