"""The check, on a subject whose maps and costs are known."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest
import torch
from torch import Tensor

pytest.importorskip("diffusers")

from concept_attention.recording.builder import RecordingBuilder
from concept_attention.recording.recording import Recording
from concept_attention.scores import MODES
from concept_attention.tiny.check import cost as cost_module
from concept_attention.tiny.check.checking import Check, check_model, measure_maps
from concept_attention.tiny.check.cost import measure_cost
from concept_attention.tiny.check.report import PAPER, facts, place, table
from concept_attention.tiny.evaluation.agreement import ABSENT, true_labels
from concept_attention.tiny.evaluation.landscapes import scene_concepts
from concept_attention.tiny.world.scenes import LABELS, Scene


@dataclass
class Known:
    """A subject that knows the truth, unless it is told to see nothing; recording may change its latent.

    Attributes:
        sees: how strongly a concept scores where it is.
        mode: scoring mode; only those of the reading `concept` have presence.
        changes: what recording adds to the latent.
        calls: whether each run was recorded.
    """

    sees: float = 5.0
    mode: str = "flux"
    changes: float = 0.0
    width: int = 64
    height: int = 80
    frames: int = 1
    device: torch.device = torch.device("cpu")
    taught: str = ""
    calls: list[bool] = field(default_factory=list)

    def look(self, scene: Scene, noise: float) -> Recording:
        concepts = scene_concepts(scene)
        labels = true_labels(scene).flatten()
        there = torch.stack([(labels == LABELS.index(concept.name)).float() for concept in concepts])[None]
        builder = RecordingBuilder((0,))
        presence = self.sees * (2 * there - 1) if MODES[self.mode].reading == "concept" else None
        builder.add_layer(0, self.sees * there, torch.ones(1, len(concepts)), presence=presence)
        builder.commit(0, noise)
        return builder.build(
            layer_count=1, default_layers=(0,), grid=(1, 5, 4), image_size=(80, 64), architecture="flux",
            mode=self.mode, concepts=concepts,
        )  # fmt: skip

    def sample(self, recorded: bool) -> Tensor:
        self.calls.append(recorded)
        return torch.ones(2, 3) + self.changes * recorded


@pytest.mark.parametrize("mode", ["flux", "cross"])
def test_maps_that_are_the_truth_are_right(mode: str) -> None:
    maps = measure_maps(Known(mode=mode), 6)
    assert maps.evaluation.pixel_accuracy == maps.evaluation.mean_iou == 1
    assert maps.evaluation.absent_rate == 0 and maps.evaluation.scenes == 6
    # What covers most of no token scores like what is absent.
    assert 0.9 < maps.absence_auroc <= 1
    assert maps.reading == MODES[mode].reading


def test_absence_is_told_from_scores_that_every_concept_gets_by_chance() -> None:
    subject = Known(sees=0.0)  # all scores are equal
    maps = measure_maps(subject, 3)
    assert maps.absence_auroc == 0.5 and maps.evaluation.pixel_accuracy == 0


def test_the_auroc_is_that_of_all_pairs() -> None:
    subject = Known()
    pairs: list[tuple[list[float], list[float]]] = []
    original = subject.look

    def look(scene: Scene, noise: float) -> Recording:
        recording = original(scene, noise)
        best = recording.presence[0, 0, 0].float().sigmoid().amax(-1).tolist()  # a hundredth of 20 tokens is one
        pairs.append((best[:-ABSENT], best[-ABSENT:]))
        return recording

    subject.look = look  # type: ignore[method-assign]
    maps = measure_maps(subject, 4)
    there, absent = (sum((pair[side] for pair in pairs), []) for side in (0, 1))
    wins = sum((a > b) + (a == b) / 2 for a in there for b in absent)
    assert maps.absence_auroc == pytest.approx(wins / len(there) / len(absent))


def test_ways_take_turns_after_a_run_of_each_that_does_not_count() -> None:
    subject = Known()
    done: list[tuple[int, int]] = []
    cost = measure_cost(subject, 3, lambda *now: done.append(now))
    assert subject.calls == [False, True, False, True, True, False, False, True]
    assert done == [(1, 3), (2, 3), (3, 3)]
    assert cost.identical and cost.time > 0


def test_a_latent_that_recording_changes_is_noticed() -> None:
    assert not measure_cost(Known(changes=1e-6), 1).identical


def test_time_and_memory_are_ratios(monkeypatch: pytest.MonkeyPatch) -> None:
    subject, clock = Known(), [0.0]

    def sample(recorded: bool) -> Tensor:
        subject.calls.append(recorded)
        clock[0] += 3.0 if recorded else 2.0
        return torch.zeros(1)

    subject.sample = sample  # type: ignore[method-assign]
    monkeypatch.setattr(cost_module.time, "perf_counter", lambda: clock[0])
    monkeypatch.setattr(cost_module, "peak_bytes", lambda device: 500 if subject.calls[-1] else 400)
    cost = measure_cost(subject, 2)
    assert (cost.time, cost.memory, cost.seconds) == (1.5, 1.25, 2.0)
    monkeypatch.setattr(cost_module, "peak_bytes", lambda device: None)
    assert measure_cost(subject, 1).memory is None


@pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="needs Linux")
def test_the_peak_is_that_since_it_was_forgotten() -> None:
    device = torch.device("cpu")
    cost_module.forget_peak(device)
    before = cost_module.peak_bytes(device)
    block = torch.ones(64 * 2**20 // 4)
    del block
    risen = cost_module.peak_bytes(device)
    assert before is not None and risen is not None and risen - before > 50 * 2**20
    cost_module.forget_peak(device)
    again = cost_module.peak_bytes(device)
    assert again is not None and again < risen - 30 * 2**20


@pytest.fixture(scope="module")
def check() -> Check:
    return check_model(Known(), 2, noise=0.4, rounds=1)


def test_the_report_says_what_was_measured(check: Check) -> None:
    text = table(check, "a model")
    assert "a model: 2 drawn scenes of 64 x 80 pixels, noise 0.4" in text
    assert "reading concept, mode flux, layers 0" in text
    assert "bit-identical" in text and "pixel accuracy   1.000" in text
    assert "accuracy 1.000: above (0.819 to 0.878)" in text and "mean IoU 1.000: above (0.699 to 0.765)" in text
    assert "mean AP          1.000" in text and "average precision 1.000: above (0.900 to 0.908)" in text
    said = facts(check)
    assert (said["pixel_accuracy"], said["mean_iou"], said["average_precision"]) == (1.0, 1.0, 1.0)
    assert said["noise"] == 0.4 and said["bit_identical"] is True
    assert said["paper"] == dict.fromkeys(("pixel_accuracy", "mean_iou", "average_precision"), "above")


def test_a_figure_that_is_not_defined_is_not_compared(check: Check) -> None:
    evaluation = replace(check.maps.evaluation, average_precision=float("nan"))
    without = replace(check, maps=replace(check.maps, evaluation=evaluation))
    said = facts(without)
    assert said["average_precision"] is None and said["paper"].keys() == {"pixel_accuracy", "mean_iou"}
    text = table(without, "a model")
    assert "mean AP              -" in text and "average precision nan" not in text


def test_a_taught_model_is_not_compared_with_the_paper(check: Check) -> None:
    text = table(check, "tiny", "Its maps are taught.")
    assert "Its maps are taught." in text and "paper" not in text


@pytest.mark.parametrize("figure", PAPER)
def test_a_figure_has_its_place(figure: str) -> None:
    low, high = min(PAPER[figure]), max(PAPER[figure])
    places = [place(figure, value) for value in (low - 0.06, low - 0.04, high + 0.04, high + 0.06)]
    assert places == ["below", "where the paper's lie", "where the paper's lie", "above"]
