"""Times in alternating order, peak memory, and the machine they were measured on."""

from __future__ import annotations

import json
import os
import platform
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch


def rounds(ways: Mapping[str, Callable[[], object]], count: int, device: str) -> dict[str, list[float]]:
    """Seconds of every way in each of `count` rounds, after one warm-up of each; every round reverses the order.

    On the CPU with one thread these are seconds of the processor, which other programs disturb much less.
    """
    for way in ways.values():
        way()
    clock = time.perf_counter if is_cuda(device) or torch.get_num_threads() > 1 else time.process_time
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    for index in range(count):
        for name in list(ways)[:: -1 if index % 2 else 1]:
            synchronize(device)
            start = clock()
            ways[name]()
            synchronize(device)
            seconds[name].append(clock() - start)
    return seconds


def synchronize(device: str) -> None:
    if is_cuda(device):
        torch.cuda.synchronize()


def is_cuda(device: str) -> bool:
    return torch.device(device).type == "cuda"


def ratios(base: Sequence[float], other: Sequence[float]) -> dict[str, float]:
    """Median, least and greatest ratio other / base of the rounds."""
    each = [b / a for a, b in zip(base, other, strict=True)]
    return {"median": statistics.median(each), "least": min(each), "most": max(each)}


def peak_resident() -> int:
    """Largest resident size of this process so far, in bytes."""
    status = Path("/proc/self/status")
    if status.exists():  # Linux: `getrusage` there includes what the parent used when this process began
        line = next(line for line in status.read_text().splitlines() if line.startswith("VmHWM"))
        return 1024 * int(line.split()[1])
    if sys.platform == "win32":
        import psutil

        return psutil.Process().memory_info().peak_wset
    import resource

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


def child(module: str, arguments: Sequence[str]) -> Any:
    """Run a benchmark in a new process, so that no other way has left anything behind; returns its last line, as JSON.

    Args:
        module: such as `benchmarks.overhead`.
        arguments: of its command line.
    """
    command = [sys.executable, "-m", module, *arguments]
    root = Path(__file__).resolve().parent.parent
    # glibc then returns freed tensors at once, so the peak is the memory in use, without fragmentation.
    environment = {**os.environ, "MALLOC_MMAP_THRESHOLD_": "65536"}
    result = subprocess.run(  # noqa: S603 - this project's own
        command, cwd=root, env=environment, check=True, stdout=subprocess.PIPE, text=True
    )
    return json.loads(result.stdout.splitlines()[-1])


def machine(device: str) -> dict[str, Any]:
    """The machine and versions that the numbers depend on."""
    return {
        "device": torch.cuda.get_device_name(device) if is_cuda(device) else platform.machine(),
        "threads": torch.get_num_threads(),
        "torch": torch.__version__,
        "python": platform.python_version(),
        "system": platform.system(),
    }
