"""Saved workflows get the widgets that nodes have gained, wherever these stand among the others."""

from __future__ import annotations

import copy
from typing import Any

from .test_workflow import INFOS, info, workflow  # noqa: F401
from .widgets import HEIGHT, add_widgets
from .workflow import widget_values
from .workflow_check import complaints

SEED = ["INT", {"min": 0, "max": 99, "control_after_generate": True}]
GAINED = {
    **INFOS,
    "Sample": info(
        {"seed": SEED, "image": ["IMAGE", {}], "strength": ["FLOAT", {"min": 0.0, "max": 1.0}]},
        {
            "first": ["STRING", {"default": "some text"}],
            "method": ["COMBO", {"options": ["one", "other"]}],
            "last": ["COMBO", {"options": ["this", "that"]}],
        },
        outputs=("IMAGE",),
    ),
}


def test_nothing_changes_where_nothing_is_missing(workflow: dict[str, Any]) -> None:  # noqa: F811
    before = copy.deepcopy(workflow)
    assert not add_widgets(workflow, INFOS) and workflow == before


def test_new_widgets_have_their_defaults_and_the_others_their_values(workflow: dict[str, Any]) -> None:  # noqa: F811
    assert add_widgets(workflow, GAINED)
    sampler = workflow["nodes"][1]
    values = {"seed": 7, "strength": 1, "first": "some text", "method": "other", "last": "this"}
    assert widget_values(sampler, GAINED["Sample"]) == values
    assert sampler["widgets_values"][:2] == [7, "randomize"]
    assert complaints(workflow, GAINED) == [] and not add_widgets(workflow, GAINED)


def test_what_is_below_moves_down_and_groups_grow_together(workflow: dict[str, Any]) -> None:  # noqa: F811
    first, sampler, last, note = workflow["nodes"]
    last["pos"] = [650, 150]  # below the sampler, which is at 600
    note["pos"] = [2000, 150]
    workflow["groups"] = [
        {"title": "left", "bounding": [290, -50, 250, 320]},
        {"title": "middle", "bounding": [590, -50, 300, 320]},
        {"title": "elsewhere", "bounding": [1990, -50, 300, 400]},
    ]
    assert add_widgets(workflow, GAINED)
    assert sampler["size"] == [200, 100 + 2 * HEIGHT] and first["size"] == [200, 100]
    assert last["pos"] == [650, 150 + 2 * HEIGHT] and note["pos"] == [2000, 150]
    assert [group["bounding"][3] for group in workflow["groups"]] == [368, 368, 400]
    assert complaints(workflow, GAINED) == []
