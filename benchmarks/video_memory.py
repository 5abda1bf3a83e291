"""Memory of a video's recording at the size of a CogVideoX-5B run: every step, and the running mean.

    python -m benchmarks.video_memory [--steps 50] [--check]

49 frames of 720 x 480 pixels are 13 x 30 x 45 tokens. Random scores of all 42 joint blocks are recorded step by
step; no model runs.
"""

from __future__ import annotations

import argparse
import json
import math
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import torch

from concept_attention.concepts import Concept
from concept_attention.hosts.architecture import Architecture, frame_counts
from concept_attention.hosts.collector import Collector
from concept_attention.hosts.encoded import EncodedConcepts
from concept_attention.recording.file import save_recording
from concept_attention.recording.recording import Recording, recording_nbytes

from .measure import child, peak_resident

MIB = 2**20
BAR_MIB = 64  # of the running mean
GRID, LAYERS, CONCEPTS = (13, 30, 45), 42, 5
SHAPE = Architecture("cogvideox", LAYERS, 8, 2, tuple(range(30)), frames_per_latent=4)


def record(steps: int) -> tuple[Recording, float]:
    """The running mean of random scores, and the seconds it took per step."""
    names = [f"concept {index}" for index in range(CONCEPTS)]
    encoded = EncodedConcepts(
        tuple(Concept(name, name) for name in names), torch.zeros(CONCEPTS, 8), (1,) * CONCEPTS, "first"
    )
    collector = Collector(encoded, SHAPE, "all", "auto")
    builder = collector.builder("running mean")
    tokens = math.prod(GRID)
    scores, norms, pads = torch.randn(1, CONCEPTS, tokens), torch.ones(1, CONCEPTS), torch.randn(1, tokens)
    began = time.perf_counter()
    for step in range(steps):
        builder.begin_evaluation()
        for layer in collector.layers:
            builder.add_layer(layer, scores, norms, pads)
        builder.commit(step, 1 - step / steps)
    seconds = (time.perf_counter() - began) / steps
    counts = frame_counts(GRID[0], SHAPE.frame_patch, SHAPE.frames_per_latent)
    return collector.build(builder, GRID, (480, 720), {}, {}, frame_counts=counts), seconds


def measure(steps: int) -> dict[str, float]:
    """Sizes in MiB; this process must have done nothing else."""
    before = peak_resident()
    recording, seconds = record(steps)
    used = (peak_resident() - before) / MIB
    with tempfile.TemporaryDirectory() as folder:
        file = save_recording(recording, Path(folder) / "recording.safetensors").stat().st_size / MIB
    return {"recording": recording.nbytes / MIB, "file": file, "peak": used, "seconds": seconds}


def main(arguments: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(prog="benchmarks.video_memory", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--steps", type=int, default=50, help="sampler steps (50)")
    parser.add_argument("--check", action="store_true", help="exit with 1 if the running mean takes more than the bar")
    parser.add_argument("--child", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    if options.child:
        print(json.dumps(measure(options.steps)))
        return 0
    mean = child("benchmarks.video_memory", ["--child", "--steps", str(options.steps)])
    full = recording_nbytes(options.steps, LAYERS, 1, CONCEPTS + 1, math.prod(GRID), torch.float32) / MIB
    print(f"every step: recording {full:.1f} MiB ({options.steps} steps)")
    print(
        f"running mean: recording {mean['recording']:.1f} MiB, file {mean['file']:.1f} MiB, peak memory of the run "
        f"{mean['peak']:.1f} MiB more than before, {1000 * mean['seconds']:.0f} ms per step"
    )
    good = mean["recording"] <= BAR_MIB
    print(f"{'met' if good else 'MISSED'}: running mean at most {BAR_MIB} MiB")
    return int(options.check and not good)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
