"""Time that concept attention adds to a sampling run of every architecture that ComfyUI can run with concepts.

    python -m benchmarks.architectures [--check] [--json FILE] [--only NAME]

The models are the tiny architectures that the adapters are tested with: ComfyUI's own classes, a few
blocks of tiny width with random weights. Images and videos have as many tokens as real ones. The ComfyUI is the one
that the tests find: COMFYUI_PATH, or the one around this checkout, or ~/comfy/ComfyUI. Run it on an otherwise idle
machine.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from concept_attention.files import write_json
from tests.support.comfyui.boot import HostMissing, boot

from .measure import machine, ratios, rounds

BAR = 1.05  # time of a run with concepts / without, the greatest that passes
SIZES = {"tokens": 4096, "text": 200, "concepts": 8, "steps": 2, "pairs": 5}
MIB = 2**20


def main(argv: Sequence[str] | None = None) -> int:
    """Run the benchmark; 1 if `--check` is given and a bar is missed, 2 if there is nothing to measure."""
    options = parse(argv)
    try:
        host = boot()
    except HostMissing as missing:
        print(missing, file=sys.stderr)
        return 2
    from . import architectures_runs as runs

    rows = runs.rows_named(options.only)
    if not rows:
        print(f"This ComfyUI has no architecture with {options.only!r} in its name.", file=sys.stderr)
        return 2
    sizes = {name: getattr(options, name) for name in SIZES}
    report: dict[str, Any] = {"sizes": sizes, "machine": {**machine("cpu"), "comfyui": host.version}, "rows": {}}
    print(heading(report), flush=True)
    for row in rows:
        model = runs.LargeRow(row, options.tokens, options.text, options.concepts, options.steps)
        seconds = rounds({"plain": model.plain, "ours": model.ours}, options.pairs, "cpu")
        ratio = ratios(seconds["plain"], seconds["ours"])
        measured = {"ratio": ratio, "tokens": model.tokens, "kept": model.kept, "differing": model.differing}
        report["rows"][row.name] = {**measured, "seconds": seconds, "met": met(measured)}
        print(line(row.name, measured), flush=True)
    missed = [name for name, one in report["rows"].items() if not one["met"]]
    print(
        f"\nAt most {BAR} times, and the same latents: {'MISSED by ' + ', '.join(missed) if missed else 'met by all'}"
    )
    if options.json:
        write_json(report, options.json)
    return int(options.check and bool(missed))


def parse(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.architectures", description=(__doc__ or "").split("\n")[0]
    )
    parser.add_argument("--only", default="", metavar="NAME", help="architectures with this in their name")
    parser.add_argument("--tokens", type=int, help="image tokens, about (%(default)s)")
    parser.add_argument("--text", type=int, help="prompt tokens (%(default)s)")
    parser.add_argument("--concepts", type=int, help="concepts (%(default)s)")
    parser.add_argument("--steps", type=int, help="sampler steps (%(default)s)")
    parser.add_argument("--pairs", type=int, help="rounds of timing (%(default)s)")
    parser.add_argument("--json", type=Path, help="file to write all numbers to")
    parser.add_argument("--check", action="store_true", help="exit with 1 if a bar is missed")
    parser.set_defaults(**SIZES)
    options = parser.parse_args(argv)
    for name in SIZES:
        if getattr(options, name) < 1:
            parser.error(f"There must be at least one of {name}, got {getattr(options, name)}.")
    if options.json and not options.json.absolute().parent.is_dir():
        parser.error(f"There is no folder {options.json.parent} for the JSON file. Make it first.")
    return options


def met(measured: Mapping[str, Any]) -> bool:
    return measured["ratio"]["median"] <= BAR and not measured["differing"]


def heading(report: Mapping[str, Any]) -> str:
    sizes, where = report["sizes"], report["machine"]
    return (
        f"About {sizes['tokens']} image and {sizes['text']} prompt tokens, {sizes['concepts']} concepts, "
        f"{sizes['steps']} steps, all layers kept, float32\n"
        f"{where['device']}, {where['threads']} threads, torch {where['torch']}, ComfyUI {where['comfyui']}\n\n"
        f"{'       Architecture':53}tokens  times plain               recording"
    )


def line(name: str, measured: Mapping[str, Any]) -> str:
    """One architecture as text; seconds of tiny models say nothing."""
    ratio = measured["ratio"]
    times = f"{ratio['median']:.3f} ({ratio['least']:.3f} to {ratio['most']:.3f})"
    same = f"  LATENTS DIFFER in {measured['differing']} values" if measured["differing"] else ""
    mark = "      " if met(measured) else "MISSED"
    return f"{mark} {name:46}{measured['tokens']:6}  {times}{measured['kept'] / MIB:9.2f} MiB{same}"


if __name__ == "__main__":
    sys.exit(main())
