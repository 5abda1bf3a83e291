"""The check: maps of drawn scenes against the truth, absent concepts, and what recording costs."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

import torch

from ...choices import Kind
from ...evaluation.curves import area_under_roc
from ...heatmaps.heatmaps import make_heatmaps
from ...heatmaps.presence import presence_scores
from ...recording.recording import Recording
from ...scores import MODES
from ..evaluation.agreement import ABSENT, Evaluation
from ..evaluation.landscapes import score_landscapes
from ..world.scenes import Scene
from .cost import Cost, measure_cost
from .subject import Subject


@dataclass(frozen=True)
class Maps:
    """How right a model's maps are.

    Attributes:
        evaluation: agreement of the maps with the truth.
        reading: of the maps; see `scores.Mode`.
        noise: level of the scenes, 0-1.
        absence_auroc: probability that a concept that a scene shows scores above one that it does not show, 0-1; by
            presence, or by scores in readings that have none.
        seconds: of looking at a scene, on average.
    """

    evaluation: Evaluation
    reading: str
    noise: float
    absence_auroc: float
    seconds: float


@dataclass(frozen=True)
class Check:
    """The figures of a check: of a model's maps, and of what recording them costs."""

    maps: Maps
    cost: Cost


def check_model(
    subject: Subject,
    scenes: int = 40,
    seed: int = 0,
    noise: float = 0.3,
    rounds: int = 3,
    on_scene: Callable[[int, int], None] | None = None,
) -> Check:
    """Measure a model's maps of drawn scenes, and what recording them costs.

    Args:
        subject: the model.
        scenes, seed, noise, on_scene: see `measure_maps`.
        rounds: see `measure_cost`.

    Raises:
        UserError: see `measure_maps`.
    """
    return Check(measure_maps(subject, scenes, seed, noise, on_scene), measure_cost(subject, rounds))


def measure_maps(
    subject: Subject,
    scenes: int,
    seed: int = 0,
    noise: float = 0.3,
    on_scene: Callable[[int, int], None] | None = None,
) -> Maps:
    """Show a model drawn scenes and compare its maps with theirs.

    Args:
        subject: the model.
        scenes: how many, at least 1.
        seed: any whole number; chooses the scenes.
        noise: level that is added to them, above 0 and up to 1.
        on_scene: called after each scene with (scenes done, scenes).

    Raises:
        UserError: as the model's host does, and as `score_landscapes`.
    """
    there: list[float] = []
    absent: list[float] = []

    def record(scene: Scene) -> Recording:
        recording = subject.look(scene, noise)
        scores = _concept_scores(recording)
        there.extend(scores[:-ABSENT])
        absent.extend(scores[-ABSENT:])
        return recording

    start = time.perf_counter()
    evaluation = score_landscapes(
        record, scenes, seed, subject.width, subject.height, subject.frames, on_scene=on_scene
    )
    seconds = (time.perf_counter() - start) / scenes
    auroc = area_under_roc(torch.tensor(there), torch.tensor(absent))
    return Maps(evaluation, MODES[evaluation.mode].reading, noise, auroc, seconds)


def _concept_scores(recording: Recording) -> list[float]:
    """How much each concept is there: its presence, or, in a reading that has no null words, its greatest scores."""
    kind: Kind = "score" if recording.presence is None else "presence"
    scores: list[float] = presence_scores(make_heatmaps(recording, kind=kind).values)[0].tolist()
    return scores
