"""Resident memory of a ComfyUI process over many runs, without and with this pack's nodes.

    python -m benchmarks.comfyui_memory [--runs 200] [--check]

Each run samples the landscape model with another seed. ComfyUI's history, which keeps every graph, is cleared after
each run. The first runs are not counted: they fill ComfyUI's caches and the cache of recordings.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

import dev
from tests.support.server.client import Client, running
from tests.support.server.graph import Node
from tests.support.server.landscape import Landscape

MIB = 2**20
WARM_UP = 20  # runs
BAR_MIB = 8  # greatest growth that passes; the recordings of 200 runs are 78 MiB
WORDS = "house, sun, sky, grass, tree, boat, moon, cloud, mountain, sand, water, snow"


def stock(start: Landscape) -> Node:
    """Sample and decode with ComfyUI's own nodes; returns the sampler."""
    sampler = start.sample(start.model, steps=8)
    start.graph.add("PreviewImage", images=start.decode(sampler[0])[0])
    return sampler


def recorded(start: Landscape) -> Node:
    """The same with a recording, heatmaps and a mask; returns the sampler."""
    sampler = start.sample(start.patch()[0], steps=8)
    start.graph.add("PreviewImage", images=start.decode(sampler[0])[0])
    recording = start.graph.add("ConceptAttentionCollect", latent=sampler[0])
    heatmaps = start.graph.add("ConceptHeatmaps", recording=recording[0])
    mask = start.graph.add("ConceptHeatmapToMask", heatmaps=heatmaps[0], concepts="sun")
    start.graph.add("PreviewImage", images=start.graph.add("MaskToImage", mask=mask[0])[0])
    return sampler


def measure(comfyui: Client, start: Landscape, sampler: Node, runs: int) -> list[int]:
    """Resident bytes after every run."""
    used = []
    for seed in range(runs):
        start.graph.set(sampler, seed=seed)
        comfyui.run(start.graph)
        comfyui.server.ask("POST", "/history", {"clear": True})
        used.append(comfyui.server.memory())
    return used


def main(arguments: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(prog="benchmarks.comfyui_memory", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--runs", type=int, default=200, help="runs of each graph (200)")
    parser.add_argument("--check", action="store_true", help="exit with 1 if memory grows by more than the bar")
    options = parser.parse_args(arguments)
    host = dev.find_comfyui(dev.ROOT)
    if host is None:
        parser.error("there is no ComfyUI. Set COMFYUI_PATH to its folder or put it into ~/comfy/ComfyUI.")
    growth = 0.0
    with tempfile.TemporaryDirectory() as folder, running(host, Path(folder)) as comfyui:
        for build in (stock, recorded):
            start = Landscape(batch=4, concepts=WORDS)
            used = measure(comfyui, start, build(start), WARM_UP + options.runs)[WARM_UP - 1 :]
            growth = (used[-1] - used[0]) / MIB
            print(f"{build.__name__}: {used[0] / MIB:.1f} MiB, after {options.runs} runs {growth:+.1f} MiB", flush=True)
    good = growth <= BAR_MIB
    print(f"{'met' if good else 'MISSED'}: growth with recordings at most {BAR_MIB} MiB")
    return int(options.check and not good)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
