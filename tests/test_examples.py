"""The examples in docstrings run and print what they say."""

from __future__ import annotations

import doctest
from importlib import import_module
from pathlib import Path

import pytest

from .support.comfyui.boot import HostMissing, boot

PACKAGE = Path(__file__).resolve().parents[1] / "concept_attention"
MODULES = sorted(
    ".".join(path.relative_to(PACKAGE.parent).with_suffix("").parts)
    for path in PACKAGE.rglob("*.py")
    if ">>> " in path.read_text(encoding="utf-8")
)
SHOWN = {
    "attention.attend_concepts",
    "concepts.parse_concepts",
    "drawing.colormaps.colorize",
    "drawing.figures.layer_step_figure",
    "drawing.overlay.overlay_each",
    "drawing.overlay.overlay_grid",
    "drawing.overlay.overlay_segmentation",
    "evaluation.metrics.ConfusionMatrix",
    "evaluation.metrics.average_precision",
    "evaluation.paper.paper_imagenet_scores",
    "heatmaps.guided.sharpen_heatmaps",
    "heatmaps.heatmaps.Heatmaps.resized",
    "heatmaps.heatmaps.make_heatmaps",
    "heatmaps.masks.make_masks",
    "heatmaps.summary.summarise",
    "heatmaps.summary.summary_text",
    "labelling.labeller.ConceptLabeller",
    "labelling.run.label",
    "labelling.settings.LabelSettings",
    "recording.file.load_recording",
    "recording.file.save_recording",
    "recording.recording.Recording",
    "scores.score_concepts",
    "selection.parse_layers",
    "selection.parse_steps",
    "text_attention.cross_scores",
    "text_attention.gram_scores",
    "vectors.SpaceScores",
}


def examples(module: str) -> list[doctest.DocTest]:
    found = doctest.DocTestFinder(exclude_empty=True).find(import_module(module))
    return [test for test in found if test.examples]


@pytest.mark.parametrize("module", MODULES)
def test_examples_print_what_they_say(module: str) -> None:
    if ".comfyui." in module:
        try:
            boot()
        except HostMissing as missing:
            pytest.skip(str(missing))
    runner, report = doctest.DocTestRunner(), []
    failed = [test.name for test in examples(module) if runner.run(test, out=report.append).failed]
    assert not failed, "".join(report)


def test_every_function_for_library_users_has_an_example() -> None:
    core = [module for module in MODULES if ".hosts." not in module and ".authors." not in module]
    shown = {test.name.removeprefix("concept_attention.") for module in core for test in examples(module)}
    assert SHOWN - shown == set()
