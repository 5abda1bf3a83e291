"""Labelling killed with SIGKILL at random moments, then run again: the labels are those of an undisturbed run.

    python -m benchmarks.labelling_kills [--kills 20] [--only worker driver ...] [--model] [--check]

Killed are a worker and the driver of the local engine, and a worker, the driver and the node process (`raylet`) of Ray,
each so many times. A run that a kill ends is started again; when it is done its files are compared, byte by byte, and a
new folder is begun. The concepts are read off the pictures' colours (`tests/support/labelling.py`), so that a run
begins quickly; with --model the landscape model finds them.
"""

from __future__ import annotations

import argparse
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import psutil

from concept_attention.concepts import parse_concepts
from concept_attention.labelling import run as run_module
from concept_attention.labelling.settings import LabelSettings
from concept_attention.labelling.sink import FolderSink
from concept_attention.labelling.sources import open_source
from tests.support.labelling import ColourCrew, draw_pictures, tree

PICTURES, SHARD = 48, 3
TARGETS = {  # engine and workers of each
    "worker": ("local", 2),
    "driver": ("local", 2),
    "ray-worker": ("ray", 2),
    "ray-driver": ("ray", 2),
    "ray-node": ("ray", 2),
}
PATIENCE = 240  # seconds until a run that neither ends nor goes on counts as hung
Moments = random.Random(20)  # noqa: S311 - reproducible, not secret


def drive(photos: Path, out: Path, engine: str, workers: int, model: bool) -> int:
    """One run, in a process of its own."""
    concepts = parse_concepts("red, green", "blue") if not model else parse_concepts("house, tree", "sky, grass")
    settings = LabelSettings(concepts, width=64, height=64, batch=2)
    if not model:
        run_module.Crew = ColourCrew  # type: ignore[misc]
    sink = FolderSink(out, "coco", settings)
    source = open_source([photos], shard_size=SHARD)
    options = {"engine": engine, "workers": workers, "devices": ["cpu"]}
    return int(not run_module.label(source, sink, settings, **options).complete)  # type: ignore[arg-type]


def start(photos: Path, out: Path, target: str, model: bool) -> subprocess.Popen[bytes]:
    engine, workers = TARGETS[target]
    command = [
        sys.executable,
        "-m",
        "benchmarks.labelling_kills",
        "--drive",
        str(photos),
        str(out),
        engine,
        str(workers),
    ]
    environment = {**os.environ, "PAUSE": "0.05", "RAY_USAGE_STATS_ENABLED": "0"}
    return subprocess.Popen(  # noqa: S603 - this project's own
        [*command, *(["--model"] if model else [])],
        env=environment,
        start_new_session=True,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )


def victims(driver: psutil.Process, target: str) -> list[psutil.Process]:
    """The processes that a kill may hit."""
    if target.endswith("driver"):
        return [driver]
    marks = {"worker": "spawn_main", "ray-worker": "ray::", "ray-node": "raylet"}
    found = []
    for child in driver.children(recursive=True):
        try:
            command = " ".join(child.cmdline())
            name = child.name() if target == "ray-node" else command
            if marks[target] in name and "IDLE" not in command:
                found.append(child)
        except psutil.Error:
            continue
    return found


def finished(out: Path) -> int:
    return len(list(out.glob(".shards/*/record.json")))


def kill_often(photos: Path, folder: Path, target: str, kills: int, model: bool, expected: dict[str, bytes]) -> int:
    """Kill until it was done often enough; returns how many finished data sets differed or hung."""
    bad = done = sets = 0
    shards = -(-PICTURES // SHARD)
    while done < kills:
        out = folder / f"{target}-{sets}"
        sets += 1
        complete = False
        while not complete:
            process = start(photos, out, target, model)
            # A kill hits once this many shards are there, and a moment later: everywhere in a run, not in its start.
            aim = Moments.randint(finished(out), shards)
            began = time.monotonic()
            while process.poll() is None and time.monotonic() - began < PATIENCE:
                time.sleep(0.02)
                if done < kills and finished(out) >= aim:
                    time.sleep(Moments.uniform(0, 0.3))
                    there = victims(psutil.Process(process.pid), target) if process.poll() is None else []
                    if there:
                        os.kill(Moments.choice(there).pid, signal.SIGKILL)
                        done += 1
                        aim = finished(out) + Moments.randint(1, 4)
            if process.poll() is None:
                print(f"{target}: a run hung with {finished(out)} of {shards} shards", flush=True)
                bad += 1
                os.killpg(process.pid, signal.SIGKILL)
            complete = process.wait() == 0
        same = tree(out) == expected
        bad += not same
        print(f"{target}: {done} kills so far; {'the same bytes' if same else 'DIFFERENT'}", flush=True)
        shutil.rmtree(out)
    return bad


def main(arguments: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(prog="benchmarks.labelling_kills", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--kills", type=int, default=20, help="of each target (20)")
    parser.add_argument("--only", nargs="+", choices=TARGETS, default=list(TARGETS), help="targets (all)")
    parser.add_argument("--model", action="store_true", help="label with the landscape model")
    parser.add_argument("--check", action="store_true", help="exit with 1 if a data set differs, or a run hangs")
    parser.add_argument("--drive", nargs=4, help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    if options.drive:
        photos, out, engine, workers = options.drive
        return drive(Path(photos), Path(out), engine, int(workers), options.model)
    bad = 0
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        draw_pictures(folder / "photos", PICTURES)
        assert start(folder / "photos", folder / "undisturbed", "driver", options.model).wait() == 0
        expected = tree(folder / "undisturbed")
        for target in options.only:
            bad += kill_often(folder / "photos", folder, target, options.kills, options.model, expected)
    print(f"{'MISSED' if bad else 'met'}: after every kill and another run, the same bytes as without")
    return int(options.check and bad > 0)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
