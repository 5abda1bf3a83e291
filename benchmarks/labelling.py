"""Labelling a data set: pictures a second with one and two workers of both engines, the model's share, and memory.

    python -m benchmarks.labelling [--count 400] [--device cpu] [--model tiny] [--ray] [--check]

Every way runs in processes of its own, on drawn landscapes, with the landscape model unless --model names another.
Loading is left out of the rates: they are those between a worker's first batch and the end.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from concept_attention.concepts import parse_concepts
from concept_attention.labelling.engines.crew import Crew
from concept_attention.labelling.run import Progress, label
from concept_attention.labelling.settings import LabelSettings
from concept_attention.labelling.sink import FolderSink
from concept_attention.labelling.sources import open_source

from .labelling_landscapes import draw
from .measure import child, peak_resident

MIB = 2**20
SHARE = 0.85  # least part of the wall time that is the model's
GROWTH = 48  # MiB that 5,000 pictures may take more than 100: their names, and the allocator's fragments
FEW, MANY = 100, 5_000
CONCEPTS = parse_concepts("house, tree, boat, sun, mountain", background="sky, grass, water, sand, snow, cloud")


def settings_of(options: argparse.Namespace) -> LabelSettings:
    return LabelSettings(
        CONCEPTS, model=options.model, width=options.side, height=options.side, noise=0.3, batch=options.batch
    )


def one_worker(options: argparse.Namespace, pictures: Path, out: Path) -> dict[str, Any]:
    """A worker in this process: its rate, the model's part of wall time and of the processor's time, and memory."""
    settings = settings_of(options)
    source, sink = open_source([pictures]), FolderSink(out, "kohya", settings)
    shards = source.shards()
    sink.begin(shards)
    if options.device == "cpu":
        torch.set_num_threads(1)  # as each of several workers has
    worker = Crew(settings, source, sink).worker(options.device)
    began, busy = time.perf_counter(), time.process_time()
    outcomes = list(worker.label(shards))
    sink.finish(shards, [])
    seconds, busy = time.perf_counter() - began, time.process_time() - busy
    assert not any(outcome.error for outcome in outcomes)
    model = worker._labeller.seconds
    return {
        "pictures": sum(outcome.pictures for outcome in outcomes),
        "per_second": sum(outcome.pictures for outcome in outcomes) / seconds,
        "model_of_wall": model / seconds,
        "processor_of_wall": busy / seconds,
        "peak": peak_resident(),
    }


def whole_run(options: argparse.Namespace, pictures: Path, out: Path, engine: Any, workers: int) -> dict[str, Any]:
    """A run of an engine: the rate from the first batch to the last."""
    seen: list[Progress] = []
    settings = settings_of(options)
    label(
        open_source([pictures], shard_size=25),
        FolderSink(out, "kohya", settings),
        settings,
        engine=engine,
        workers=workers,
        devices=[options.device],
        on_progress=seen.append,
    )
    first = next(progress for progress in seen if progress.done)
    rate = (seen[-1].done - first.done) / (seen[-1].seconds - first.seconds)
    return {"pictures": seen[-1].done, "per_second": rate, "start": first.seconds}


def ways(options: argparse.Namespace) -> list[str]:
    return ["local-1", "local-2", *(["ray-1", "ray-2"] if options.ray else [])]


def measure(options: argparse.Namespace, way: str, pictures: Path, side: int) -> dict[str, Any]:
    """One way in a process of its own."""
    shared = ["--device", options.device, "--model", options.model, "--batch", str(options.batch)]
    return child("benchmarks.labelling", ["--child", way, "--pictures", str(pictures), "--side", str(side), *shared])


def run_child(options: argparse.Namespace) -> None:
    engine, workers = options.child.split("-")
    with tempfile.TemporaryDirectory() as out:
        if engine == "worker":
            report = one_worker(options, options.pictures, Path(out))
        else:
            report = whole_run(options, options.pictures, Path(out), engine, int(workers))
    print(json.dumps(report))


def main(arguments: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(prog="benchmarks.labelling", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--count", type=int, default=400, help="pictures for the rates (400)")
    parser.add_argument("--many", type=int, default=MANY, help=f"pictures for the memory ({MANY})")
    parser.add_argument("--side", type=int, default=256, help="pixels that the model gets (256)")
    parser.add_argument("--batch", type=int, default=8, help="pictures at once (8)")
    parser.add_argument("--model", default="tiny", help="model (tiny)")
    parser.add_argument("--device", default="cpu", help="device (cpu)")
    parser.add_argument("--ray", action="store_true", help="also on Ray")
    parser.add_argument("--json", type=Path, help="also write all numbers to this file")
    parser.add_argument("--check", action="store_true", help="exit with 1 if a bar is missed")
    parser.add_argument("--child", help=argparse.SUPPRESS)
    parser.add_argument("--pictures", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    if options.child:
        run_child(options)
        return 0
    report: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as temporary:
        rated, few, many = (Path(temporary) / name for name in ("rated", "few", "many"))
        for folder, count in ((rated, options.count), (few, FEW), (many, options.many)):
            draw(folder, count)
        report["worker"] = measure(options, "worker-1", rated, options.side)
        print(
            f"one worker, one thread: {report['worker']['per_second']:.2f} pictures a second, "
            f"{report['worker']['model_of_wall']:.1%} of the wall time is the model's",
            flush=True,
        )
        for way in ways(options):
            report[way] = measure(options, way, rated, options.side)
            ratio = report[way]["per_second"] / report["local-1"]["per_second"]
            print(
                f"{way}: {report[way]['per_second']:.2f} pictures a second ({ratio:.2f} times local-1), "
                f"the first after {report[way]['start']:.1f} s",
                flush=True,
            )
        for name, folder in (("few", few), ("many", many)):
            report[name] = measure(options, "worker-1", folder, 64)
            print(f"{report[name]['pictures']} pictures: peak {report[name]['peak'] / MIB:.0f} MiB", flush=True)
    growth = (report["many"]["peak"] - report["few"]["peak"]) / MIB
    bars = {
        f"the model has at least {SHARE:.0%} of the wall time": report["worker"]["model_of_wall"] >= SHARE,
        f"{options.many} pictures take at most {GROWTH} MiB more than {FEW} ({growth:.0f})": growth <= GROWTH,
    }
    for bar, good in bars.items():
        print(f"{'met' if good else 'MISSED'}: {bar}")
    if options.json:
        options.json.write_text(json.dumps(report, indent=2) + "\n")
    return int(options.check and not all(bars.values()))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
