"""The best of several seeds: each is sampled until presence is known, the best one to its end."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ...errors import UserError
from ...heatmaps.presence import THRESHOLD
from ...recording.recording import Recording
from .engine.early_stop import StopRule
from .engine.run import RunResult
from .engine.settings import Settings
from .recording_cache import NothingRecorded

SEEDS = 1 << 64


@dataclass(frozen=True)
class Trial:
    """One seed, sampled until presence was known.

    Attributes:
        seed: of its noise.
        presence: of each wanted concept there, 0-1; the least of the batch.
        steps_left: that were not sampled.
    """

    seed: int
    presence: Mapping[str, float]
    steps_left: int

    @property
    def score(self) -> float:
        """The least of its concepts."""
        return min(self.presence.values())


def choose_best(trials: Sequence[Trial]) -> Trial:
    """The trial with the highest score; of equal ones the first.

    >>> choose_best([Trial(1, {"boat": 0.2}, 6), Trial(2, {"boat": 0.9}, 6)]).seed
    2
    """
    return max(trials, key=lambda trial: trial.score)


def sample_best(
    sample: Callable[..., tuple[dict[str, Any], Recording]],
    settings: Settings,
    seed: int,
    count: int,
    wanted: Sequence[str],
    after: float,
) -> tuple[dict[str, Any], Recording, list[Trial]]:
    """Sample `count` seeds until a part of their steps, then the best one from the start to its end.

    Args:
        sample: as `sampling.sample`, called with `settings`, `seed` and, for a trial, `on_result`.
        settings: what to record.
        seed: of the first trial; each further one has the next.
        count: of seeds, 1 or more.
        wanted: names of the concepts that must be there.
        after: part of the steps (0-1) that each seed is sampled for.

    Returns:
        The LATENT and the recording of the best seed, as if sampled alone, and all trials.

    Raises:
        UserError: for no wanted concept, numbers out of range, or concepts without null words.
        NothingRecorded: if presence was not recorded where it was to be read.
    """
    if count < 1:
        raise UserError(f"There must be at least one seed to try, got {count}.")
    rule = StopRule(tuple(wanted), after, math.inf)
    trying = dataclasses.replace(settings, stop=rule, live_preview="")
    trials = []
    for number in range(count):
        results: list[RunResult] = []
        own = (seed + number) % SEEDS
        sample(settings=trying, seed=own, on_result=results.append)
        early = results[-1].early
        if early is None or not early.presence:
            raise NothingRecorded(
                f"Nothing is known of what is present after {after:.0%} of the steps: that step was not recorded. "
                "Record all steps, or choose a later part."
            )
        trials.append(Trial(own, {name: early.presence[name] for name in rule.wanted}, early.steps_left))
    latent, recording = sample(settings=settings, seed=choose_best(trials).seed)
    return latent, recording, trials


def report_best(trials: Sequence[Trial]) -> str:
    """One line per seed, the best first, and how many steps were saved."""
    lines = []
    for trial in sorted(trials, key=lambda trial: -trial.score):
        scores = ", ".join(f"{name} {score:.2f}" for name, score in trial.presence.items())
        missing = [name for name, score in trial.presence.items() if score < THRESHOLD]
        lines.append(f"seed {trial.seed}: {scores}" + (f" (absent: {', '.join(missing)})" if missing else ""))
    best = choose_best(trials)
    saved = sum(trial.steps_left for trial in trials)
    return "\n".join([f"Seed {best.seed} is the best of {len(trials)}.", *lines, f"Steps not sampled: {saved}."])
