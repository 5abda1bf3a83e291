"""Time and memory that concept attention adds to a sampling run inside ComfyUI; it must not change the latents.

    python -m benchmarks.comfyui_overhead [--check] [--json FILE]
    python -m benchmarks.comfyui_overhead --device cuda --dtype bfloat16 --shape flux-dev [--check]

The ComfyUI is the one that the tests find: COMFYUI_PATH, or the one around this checkout, or ~/comfy/ComfyUI.
Run it on an otherwise idle machine. Ways are timed in rounds of alternating order; a ratio is the median of the rounds'
ratios.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

import dev
from concept_attention.files import write_json
from dev_comfyui import import_library

from .comfyui_sizes import SHAPES, Sizes
from .measure import child, is_cuda, machine, peak_resident, ratios, rounds

if TYPE_CHECKING:
    from .comfyui_flux import RandomComfyFlux

MIB = 2**20
ROOT = Path(__file__).resolve().parent.parent
BARS = {  # by device, the greatest value that passes
    # Time: with concept attention in all steps / without. Memory: MiB of peak memory added, on the CPU without the
    # recording itself. Latents: values that concept attention changes.
    "cpu": {"time": 1.03, "memory": 64.0, "latents": 0},
    "cuda": {"time": 1.02, "memory": 300.0, "latents": 0},
}
WAYS = {"plain": "without concepts", "ours": "in all steps", "half": "in half the steps"}


def main(argv: Sequence[str] | None = None) -> int:
    """Run the benchmark; 1 if `--check` is given and a bar is missed, 2 if this environment lacks packages."""
    options, sizes, comfyui = parse(argv)
    try:
        import_library(comfyui, [] if is_cuda(sizes.device) else ["--cpu"])
    except ModuleNotFoundError as error:
        print(f"{comfyui} needs the package {error.name!r}. Run in the environment of that ComfyUI.", file=sys.stderr)
        return 2
    if options.way:
        print(json.dumps(peak_memory(make(sizes), options.way)))
        return 0
    report = run(sizes, options.pairs)
    print(table(report))
    if options.json:
        write_json(report, options.json)
    return int(options.check and not all(bar["met"] for bar in report["bars"].values()))


def parse(
    argv: Sequence[str] | None, name: str = "comfyui_overhead", about: str | None = __doc__
) -> tuple[argparse.Namespace, Sizes, Path]:
    """Options, sizes, and the folder of the ComfyUI to measure in.

    Args:
        argv: command line, or None for this process's.
        name, about: of the benchmark; the first line of `about` is shown.
    """
    parser = argparse.ArgumentParser(prog=f"python -m benchmarks.{name}", description=(about or "").split("\n")[0])
    parser.add_argument("--shape", choices=SHAPES, default="bench", help="preset of the next five (%(default)s)")
    parser.add_argument("--width", type=int, help="inner width, a multiple of 128")
    parser.add_argument("--blocks", type=int, help="joint blocks")
    parser.add_argument("--singles", type=int, help="single blocks, without concepts")
    parser.add_argument("--text", type=int, help="prompt tokens")
    parser.add_argument("--steps", type=int, help="sampler steps")
    parser.add_argument("--pixels", type=int, default=1024, help="side of the image, a multiple of 16 (%(default)s)")
    parser.add_argument("--concepts", type=int, default=8, help="concepts (%(default)s)")
    parser.add_argument("--device", default="cpu", choices=tuple(BARS), help="(%(default)s)")
    parser.add_argument("--dtype", default="float32", choices=("float32", "bfloat16", "float16"), help="(%(default)s)")
    parser.add_argument("--pairs", type=int, default=4, help="rounds of timing (%(default)s)")
    parser.add_argument("--json", type=Path, help="file to write all numbers to")
    parser.add_argument("--check", action="store_true", help="exit with 1 if a bar is missed")
    # For the child processes that measure memory.
    parser.add_argument("--way", choices=WAYS, help=argparse.SUPPRESS)
    options = parser.parse_args(argv)
    given = {field.name: getattr(options, field.name) for field in fields(Sizes)}
    shape = SHAPES[options.shape]
    try:
        sizes = Sizes(**{name: shape[name] if value is None else value for name, value in given.items()})
        comfyui = dev.find_comfyui(ROOT)
    except (ValueError, dev.SetupError) as error:
        parser.error(str(error))
    if comfyui is None:
        parser.error("There is no ComfyUI to measure in. Set COMFYUI_PATH to its folder.")
    if options.pairs < 1:
        parser.error(f"There must be at least one round, got {options.pairs}.")
    if is_cuda(options.device) and not torch.cuda.is_available():
        parser.error("This torch sees no CUDA device. Use --device cpu.")
    if options.json and not options.json.absolute().parent.is_dir():
        parser.error(f"There is no folder {options.json.parent} for the JSON file. Make it first.")
    return options, sizes, comfyui


def make(sizes: Sizes) -> RandomComfyFlux:
    """The model; ComfyUI's library has been imported."""
    from .comfyui_flux import RandomComfyFlux

    return RandomComfyFlux(sizes)


@torch.inference_mode()  # as ComfyUI runs its nodes
def run(sizes: Sizes, pairs: int) -> dict[str, Any]:
    """All measurements, as a report for JSON: seconds, ratios, bytes, and how they compare with the bars."""
    measured = ("plain", "ours")
    # The child processes come first, while this process holds no model.
    memory = {} if is_cuda(sizes.device) else {way: child_memory(sizes, way) for way in measured}
    model = make(sizes)
    memory = memory or {way: peak_memory(model, way) for way in measured}
    seconds = rounds({way: getattr(model, way) for way in WAYS}, pairs, sizes.device)
    report: dict[str, Any] = {
        "sizes": {**asdict(sizes), "tokens": sizes.tokens},
        "machine": {**machine(sizes.device), "comfyui": model.comfyui},
        "seconds": seconds,
        "ratios": {way: ratios(seconds["plain"], seconds[way]) for way in WAYS},
        "memory": memory,
        "differing": model.differing,
    }
    return {**report, "bars": bars(report)}


def child_memory(sizes: Sizes, way: str) -> dict[str, int]:
    """`peak_memory` in a new process, so that no way starts with what another left behind."""
    options = [f"--{name}={value}" for name, value in asdict(sizes).items()]
    return child("benchmarks.comfyui_overhead", ["--way", way, *options])


@torch.inference_mode()
def peak_memory(model: RandomComfyFlux, way: str) -> dict[str, int]:
    """Bytes: the peak of one sampling run, and what the recording of it takes.

    On a GPU it is the device's peak, and a run before has moved the weights there and allocated the workspaces. On
    the CPU it is the peak of the process, model included.
    """
    on_gpu = is_cuda(model.sizes.device)
    if on_gpu:
        getattr(model, way)()
        torch.cuda.synchronize()
        torch.cuda.reset_peak_memory_stats(model.device)
    recording = getattr(model, way)()
    peak = torch.cuda.max_memory_allocated(model.device) if on_gpu else peak_resident()
    return {"peak": peak, "kept": recording.nbytes if recording else 0}


def bars(report: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """Value, bar, and whether it is met."""
    device, memory = report["sizes"]["device"], report["memory"]
    kept = 0 if is_cuda(device) else memory["ours"]["kept"]  # a GPU run keeps its recording on the CPU
    values = {
        "time": report["ratios"]["ours"]["median"],
        "memory": (memory["ours"]["peak"] - memory["plain"]["peak"] - kept) / MIB,
        "latents": report["differing"],
    }
    limits = BARS[device]
    return {name: {"value": value, "bar": limits[name], "met": value <= limits[name]} for name, value in values.items()}


def table(report: Mapping[str, Any]) -> str:
    """The report as text; seconds are shown for a GPU only, as those of a CPU depend mostly on the CPU."""
    sizes, where, memory = report["sizes"], report["machine"], report["memory"]
    on_gpu = is_cuda(sizes["device"])
    lines = [
        f"Random Flux ({sizes['shape']}), {sizes['width']} wide: {sizes['blocks']} joint and {sizes['singles']} single "
        f"blocks, {sizes['tokens']} image and {sizes['text']} prompt tokens, {sizes['concepts']} concepts, "
        f"{sizes['steps']} steps",
        f"{sizes['dtype']} on {where['device']}, {where['threads']} threads, torch {where['torch']}, "
        f"ComfyUI {where['comfyui']}",
        "",
        f"Concept attention      times plain           {'   seconds' if on_gpu else ''}     peak memory         kept",
    ]
    for way, name in WAYS.items():
        ratio = report["ratios"][way]
        line = f"  {name:20} {ratio['median']:.3f} ({ratio['least']:.3f} to {ratio['most']:.3f})"
        if on_gpu:
            line += f"{statistics.median(report['seconds'][way]):10.3f}"
        if way in memory:
            extra = (memory[way]["peak"] - memory["plain"]["peak"]) / MIB
            line += f"{extra:+12.1f} MiB  {memory[way]['kept'] / MIB:7.1f} MiB"
        lines.append(line)
    same = f"differ in {report['differing']} values" if report["differing"] else "are bit-for-bit identical"
    lines += ["", f"The latents of all runs, with and without concepts, {same}.", ""]
    for name, bar in report["bars"].items():
        lines.append(f"{'met   ' if bar['met'] else 'MISSED'} {name}: {bar['value']:.3f} (bar {bar['bar']:g})")
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main())
