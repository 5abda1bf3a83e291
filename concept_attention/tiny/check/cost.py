"""What recording costs: time, memory, and whether the latent stays the same."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from .subject import Subject

PEAK, FORGET = Path("/proc/self/status"), Path("/proc/self/clear_refs")  # Linux: the peak, and what sets it back


@dataclass(frozen=True)
class Cost:
    """What recording adds to a run.

    Attributes:
        time: seconds with, divided by seconds without; the median of the rounds.
        memory: peak bytes with, divided by peak bytes without: of the GPU's tensors, or of this process on a CPU; None
            where this cannot be measured.
        identical: whether all latents were bit-identical.
        seconds: of a run without, the median.
    """

    time: float
    memory: float | None
    identical: bool
    seconds: float


def measure_cost(subject: Subject, rounds: int = 3, on_round: Callable[[int, int], None] | None = None) -> Cost:
    """Run a model with and without recording, in turns, after one run of each that is not counted.

    Args:
        subject: the model.
        rounds: at least 1; every other one reverses the order.
        on_round: called after each round with (rounds done, rounds).
    """
    first = {recorded: subject.sample(recorded) for recorded in (False, True)}
    identical = torch.equal(first[False], first[True])
    seconds: dict[bool, list[float]] = {False: [], True: []}
    peaks: dict[bool, list[int | None]] = {False: [], True: []}
    for index in range(rounds):
        for recorded in (False, True) if index % 2 == 0 else (True, False):
            latent, taken, peak = _measured(subject, recorded)
            identical &= torch.equal(latent, first[False])
            seconds[recorded].append(taken)
            peaks[recorded].append(peak)
        if on_round is not None:
            on_round(index + 1, rounds)
    ratio = statistics.median(after / before for before, after in zip(seconds[False], seconds[True], strict=True))
    return Cost(ratio, _memory_ratio(peaks), identical, statistics.median(seconds[False]))


def _measured(subject: Subject, recorded: bool) -> tuple[Tensor, float, int | None]:
    """The latent, seconds and peak bytes of one run."""
    forget_peak(subject.device)
    start = time.perf_counter()
    latent = subject.sample(recorded)
    if subject.device.type == "cuda":
        torch.cuda.synchronize(subject.device)
    return latent, time.perf_counter() - start, peak_bytes(subject.device)


def _memory_ratio(peaks: dict[bool, list[int | None]]) -> float | None:
    known = {recorded: [peak for peak in found if peak is not None] for recorded, found in peaks.items()}
    return max(known[True]) / max(known[False]) if all(known.values()) else None


def forget_peak(device: torch.device) -> None:
    """Begin to measure the peak anew."""
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
    else:
        with suppress(OSError):
            FORGET.write_text("5", encoding="ascii")


def peak_bytes(device: torch.device) -> int | None:
    """Most bytes in use since `forget_peak`; None where the system does not say."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    with suppress(OSError):
        for line in PEAK.read_text(encoding="ascii").splitlines():
            if line.startswith("VmHWM:"):
                return 1024 * int(line.split()[1])
    return None
