"""The figures of the presence benchmark, on maps that are made up."""

from __future__ import annotations

import torch

from benchmarks.presence import Tally, area, asked
from concept_attention.tiny.world.scenes import LABELS, draw_scene, token_coverage


def test_the_area_is_how_often_the_present_score_higher() -> None:
    assert area([0.9, 0.4], [0.4, 0.1]) == 0.875
    assert area([1.0], [0.0]) == 1 and area([0.0], [1.0]) == 0


def test_the_truth_itself_is_perfect_and_two_names_share_it_in_halves() -> None:
    tally = Tally()
    for seed in range(10_000_000, 10_000_012):
        scene = draw_scene(seed)
        coverage = torch.from_numpy(token_coverage(scene.labels))
        most = torch.nn.functional.one_hot(coverage.argmax(dim=0), len(LABELS)).movedim(-1, 0).float()
        names = [concept.name for concept in asked(scene)]
        label = [next(word for word in LABELS if name.endswith(word)) for name in names]
        truth = torch.stack([most[LABELS.index(word)] for word in label])
        shares = truth / truth.sum(dim=0, keepdim=True)
        tally.add(scene, truth, shares - 1e-3)
    report = tally.report()
    assert "absence AUROC: " in report
    assert "  presence  the label  1.000" in report and "  share     the label  0.000" in report
