"""Time and memory that concept attention adds to a Flux transformer, compared with the authors' implementation.

    python -m benchmarks.overhead [--check] [--json FILE] [--device cuda --dtype bfloat16] ...

Run it on an otherwise idle machine. Ways are timed in rounds of alternating order (A B C, C B A, ...); a ratio is the
median of the rounds' ratios.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any

import torch

from concept_attention.files import write_json

from .measure import child, is_cuda, machine, peak_resident, ratios, rounds
from .random_flux import RandomFlux, Settings

MIB = 2**20
BARS = {  # greatest value that passes
    "time": 1.03,  # with concept attention / without
    "memory": 64.0,  # MiB of peak memory added, without the recording itself
    "analyze": 1.10,  # stopped evaluation with concepts / embedders and kept joint blocks alone
}
WAYS = {"plain": "without concepts", "ours": "concept attention", "authors": "the authors' way"}


def main(argv: Sequence[str] | None = None) -> int:
    """Run the benchmark; 1 if `--check` is given and a bar is missed."""
    options, settings = parse(argv)
    if options.way:
        print(json.dumps(peak_memory(RandomFlux(settings), options.way)))
        return 0
    report = run(settings, options.pairs)
    print(table(report))
    if options.json:
        write_json(report, options.json)
    return int(options.check and not all(bar["met"] for bar in report["bars"].values()))


def parse(argv: Sequence[str] | None) -> tuple[argparse.Namespace, Settings]:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.overhead", description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--width", type=int, default=1024, help="inner width, a multiple of 128 (%(default)s)")
    parser.add_argument("--blocks", type=int, default=8, help="joint blocks (%(default)s)")
    parser.add_argument("--singles", type=int, default=0, help="single blocks, without concepts (%(default)s)")
    parser.add_argument("--tokens", type=int, default=4096, help="image tokens (%(default)s are 1024x1024 pixels)")
    parser.add_argument("--text", type=int, default=256, help="prompt tokens (%(default)s)")
    parser.add_argument("--concepts", type=int, default=8, help="concepts (%(default)s)")
    parser.add_argument("--device", default="cpu", help="torch device (%(default)s)")
    parser.add_argument("--dtype", default="float32", choices=("float32", "bfloat16", "float16"), help="(%(default)s)")
    parser.add_argument("--pairs", type=int, default=6, help="rounds of timing (%(default)s)")
    parser.add_argument("--json", type=Path, help="file to write all numbers to")
    parser.add_argument("--check", action="store_true", help="exit with 1 if a bar is missed")
    # For the child processes that measure memory.
    parser.add_argument("--way", choices=WAYS, help=argparse.SUPPRESS)
    options = parser.parse_args(argv)
    try:
        settings = Settings(**{field.name: getattr(options, field.name) for field in fields(Settings)})
    except ValueError as error:
        parser.error(str(error))
    if options.pairs < 1:
        parser.error(f"There must be at least one round, got {options.pairs}.")
    if is_cuda(options.device) and not torch.cuda.is_available():
        parser.error("This torch sees no CUDA device. Use --device cpu.")
    if options.json and not options.json.absolute().parent.is_dir():
        parser.error(f"There is no folder {options.json.parent} for the JSON file. Make it first.")
    return options, settings


@torch.no_grad()
def run(settings: Settings, pairs: int) -> dict[str, Any]:
    """All measurements, as a report for JSON: seconds, ratios, bytes, and how they compare with the bars."""
    # The child processes come first, while this process holds no model.
    memory = {} if is_cuda(settings.device) else {way: child_memory(settings, way) for way in WAYS}
    model = RandomFlux(settings)
    memory = memory or {way: peak_memory(model, way) for way in WAYS}
    seconds = rounds({way: getattr(model, way) for way in WAYS}, pairs, settings.device)
    report: dict[str, Any] = {
        "settings": asdict(settings),
        "machine": machine(settings.device),
        "seconds": seconds,
        "ratios": {way: ratios(seconds["plain"], seconds[way]) for way in WAYS},
        "memory": memory,
        "analyze": {count: analyze(model, count, pairs) for count in (settings.blocks, -(-settings.blocks // 2))},
        "score_difference": score_difference(model),
    }
    return {**report, "bars": bars(report)}


def analyze(model: RandomFlux, count: int, pairs: int) -> dict[str, Any]:
    """The evaluation that `analyze` stops after the first `count` joint blocks, against those blocks alone."""
    ways: dict[str, Callable[[], object]] = {
        "alone": lambda: model.joint_blocks_alone(count),
        "ours": lambda: model.ours(f"0-{count - 1}", stop=True),
    }
    seconds = rounds(ways, pairs, model.settings.device)
    return {"seconds": seconds, "ratio": ratios(seconds["alone"], seconds["ours"])}


def child_memory(settings: Settings, way: str) -> dict[str, int]:
    """`peak_memory` in a new process, so that no way starts with what another left behind."""
    sizes = [f"--{name}={value}" for name, value in asdict(settings).items()]
    return child("benchmarks.overhead", ["--way", way, *sizes])


@torch.no_grad()
def peak_memory(model: RandomFlux, way: str) -> dict[str, int]:
    """Bytes: the peak of one evaluation, and what the way keeps of it.

    On a GPU it is the device's peak, and an evaluation before has allocated the workspaces. On the CPU it is the
    peak of the process, model included.
    """
    evaluate: Callable[[], Any] = getattr(model, way)
    on_gpu = is_cuda(model.settings.device)
    if on_gpu:
        evaluate()
        torch.cuda.reset_peak_memory_stats(model.settings.device)
    result = evaluate()
    peak = torch.cuda.max_memory_allocated(model.settings.device) if on_gpu else peak_resident()
    return {"peak": peak, "kept": result.nbytes if result else 0}


def score_difference(model: RandomFlux) -> float:
    """Largest difference between our scores and the authors', relative to the range of the scores."""
    ours, theirs = model.ours().scores[0], model.authors().scores
    return ((ours - theirs).abs().max() / (theirs.max() - theirs.min())).item()


def bars(report: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """Value, bar, and whether it is met."""
    memory = report["memory"]
    values = {
        "time": report["ratios"]["ours"]["median"],
        "memory": (memory["ours"]["peak"] - memory["plain"]["peak"] - memory["ours"]["kept"]) / MIB,
        "analyze": max(one["ratio"]["median"] for one in report["analyze"].values()),
    }
    return {name: {"value": value, "bar": BARS[name], "met": value <= BARS[name]} for name, value in values.items()}


def table(report: Mapping[str, Any]) -> str:
    """The report as text."""
    sizes, where, memory = report["settings"], report["machine"], report["memory"]
    lines = [
        f"Random Flux, {sizes['width']} wide: {sizes['blocks']} joint and {sizes['singles']} single blocks, "
        f"{sizes['tokens']} image and {sizes['text']} prompt tokens, {sizes['concepts']} concepts",
        f"{sizes['dtype']} on {where['device']}, {where['threads']} threads, torch {where['torch']}",
        "",
        "One evaluation           seconds   times plain            peak memory        kept",
    ]
    for way, name in WAYS.items():
        extra = (memory[way]["peak"] - memory["plain"]["peak"]) / MIB
        lines.append(
            f"  {name:20} {statistics.median(report['seconds'][way]):9.3f}   {_ratio(report['ratios'][way])}"
            f"{extra:+10.1f} MiB  {memory[way]['kept'] / MIB:7.1f} MiB"
        )
    lines += ["", "Stopped evaluation of analyze, against embedders and kept joint blocks alone"]
    for count, one in report["analyze"].items():
        lines.append(
            f"  {f'{count} joint blocks':20} {statistics.median(one['seconds']['ours']):9.3f}   {_ratio(one['ratio'])}"
        )
    lines += ["", f"Both ways' scores agree to {report['score_difference']:.1e} of their range.", ""]
    for name, bar in report["bars"].items():
        lines.append(f"{'met   ' if bar['met'] else 'MISSED'} {name}: {bar['value']:.3f} (bar {bar['bar']:g})")
    return "\n".join(lines)


def _ratio(ratio: Mapping[str, float]) -> str:
    return f"{ratio['median']:.3f} ({ratio['least']:.3f} to {ratio['most']:.3f})"


if __name__ == "__main__":
    sys.exit(main())
