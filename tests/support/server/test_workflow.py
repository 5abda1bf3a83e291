"""From workflows as the front end saves them to what it queues; and that mistakes in them are found."""

from __future__ import annotations

import copy
from typing import Any

import pytest

from .workflow import MUTED, titled, to_graph
from .workflow_check import complaints


def info(required: dict[str, Any], optional: dict[str, Any] | None = None, outputs: tuple[str, ...] = ()) -> dict:
    """A node as /object_info describes it."""
    groups = {"required": required, "optional": optional or {}}
    order = {group: list(inputs) for group, inputs in groups.items()}
    return {"input": groups, "input_order": order, "output": list(outputs), "output_name": list(outputs)}


INFOS = {
    "Load": info({"file": [["a.png", "b.png"], {"image_upload": True}]}, outputs=("IMAGE", "MASK")),
    "Sample": info(
        {
            "seed": ["INT", {"min": 0, "max": 99, "control_after_generate": True}],
            "image": ["IMAGE", {}],
            "strength": ["FLOAT", {"min": 0.0, "max": 1.0}],
        },
        {"method": ["COMBO", {"options": ["one", "other"]}]},
        outputs=("IMAGE",),
    ),
    "Show": info({"image": ["IMAGE", {}]}),
}


def socket(name: str, kind: str, link: int | None = None, widget: bool = True) -> dict[str, Any]:
    return {"name": name, "type": kind, "link": link, **({"widget": {"name": name}} if widget else {})}


def node(number: int, kind: str, inputs: list, outputs: list, values: list, **more: Any) -> dict[str, Any]:
    place = {"pos": [300 * number, 0], "size": [200, 100], "mode": 0, "properties": {}}
    named = [{"name": name, "type": name, "links": links} for name, links in outputs]
    return {"id": number, "type": kind, "inputs": inputs, "outputs": named, "widgets_values": values, **place, **more}


@pytest.fixture
def workflow() -> dict[str, Any]:
    """A picture is loaded, sampled and shown; a note stands beside it."""
    return {
        "version": 0.4,
        "last_node_id": 4,
        "last_link_id": 2,
        "groups": [{"title": "all", "bounding": [290, -50, 850, 160]}],
        "nodes": [
            node(1, "Load", [socket("file", "COMBO")], [("IMAGE", [1]), ("MASK", None)], ["b.png", "image"]),
            node(
                2,
                "Sample",
                [
                    socket("image", "IMAGE", 1, False),
                    socket("seed", "INT"),
                    socket("strength", "FLOAT"),
                    socket("method", "COMBO"),
                ],
                [("IMAGE", [2])],
                [7, "randomize", 1, "other"],
                title="The sampler",
            ),
            node(3, "Show", [socket("image", "IMAGE", 2, False)], [], []),
            node(4, "MarkdownNote", [], [], ["Read this."]),
        ],
        "links": [[1, 1, 0, 2, 0, "IMAGE"], [2, 2, 0, 3, 0, "IMAGE"]],
    }


def queued(workflow: dict[str, Any]) -> dict[str, Any]:
    return {number: part["inputs"] for number, part in to_graph(workflow, INFOS).as_prompt().items()}


def test_values_and_links_go_to_the_inputs_they_stand_for(workflow: dict[str, Any]) -> None:
    assert queued(workflow) == {
        "1": {"file": "b.png"},
        "2": {"seed": 7, "strength": 1, "method": "other", "image": ["1", 0]},
        "3": {"image": ["2", 0]},
    }
    assert titled(workflow, "The sampler").number == "2"


def test_a_muted_node_brings_nothing_and_a_bypassed_one_what_it_got(workflow: dict[str, Any]) -> None:
    workflow["nodes"][1]["mode"] = 2
    assert queued(workflow) == {"1": {"file": "b.png"}, "3": {}}
    workflow["nodes"][1]["mode"] = 4
    assert queued(workflow) == {"1": {"file": "b.png"}, "3": {"image": ["1", 0]}}


def test_reroutes_are_followed_and_primitives_give_their_value(workflow: dict[str, Any]) -> None:
    workflow["nodes"].append(node(5, "Reroute", [socket("", "*", 1, False)], [("IMAGE", [3])], []))
    workflow["nodes"].append(node(6, "PrimitiveNode", [], [("FLOAT", [4])], [0.25, "fixed"]))
    workflow["links"] += [[3, 5, 0, 2, 0, "IMAGE"], [4, 6, 0, 2, 2, "FLOAT"]]
    inputs = workflow["nodes"][1]["inputs"]
    inputs[0]["link"], inputs[2]["link"] = 3, 4
    assert queued(workflow)["2"] == {"seed": 7, "strength": 0.25, "method": "other", "image": ["1", 0]}


@pytest.fixture
def nested(workflow: dict[str, Any]) -> dict[str, Any]:
    """The same with the sampler in a subgraph, which shows the picture and the strength on its outside."""
    sampler = workflow["nodes"][1]
    inner = copy.deepcopy(sampler)
    inner["inputs"][0]["link"], inner["inputs"][2]["link"], inner["outputs"][0]["links"] = 1, 2, [3]
    names = ("origin_id", "origin_slot", "target_id", "target_slot", "type", "id")
    links = [(-10, 0, 2, 0, "IMAGE", 1), (-10, 1, 2, 2, "FLOAT", 2), (2, 0, -20, 0, "IMAGE", 3)]
    definition = {
        "id": "sub",
        "name": "Subgraph",
        "state": {"lastNodeId": 2, "lastLinkId": 3},
        "inputs": [
            {"name": "picture", "type": "IMAGE", "linkIds": [1]},
            {"name": "power", "type": "FLOAT", "linkIds": [2]},
        ],
        "outputs": [{"name": "IMAGE", "type": "IMAGE", "linkIds": [3]}],
        "nodes": [inner],
        "groups": [],
        "links": [dict(zip(names, link, strict=True)) for link in links],
    }
    sampler.update(
        type="sub", inputs=[socket("picture", "IMAGE", 1, False), socket("power", "FLOAT")], widgets_values=[]
    )
    return {**workflow, "definitions": {"subgraphs": [definition]}}


def test_a_subgraph_is_flattened(nested: dict[str, Any]) -> None:
    assert queued(nested) == {
        "1": {"file": "b.png"},
        "2:2": {"seed": 7, "strength": 1, "method": "other", "image": ["1", 0]},
        "3": {"image": ["2:2", 0]},
    }
    nested["nodes"][1]["widgets_values"] = [0.5]
    assert queued(nested)["2:2"]["strength"] == 0.5
    nested["nodes"].append(node(5, "PrimitiveNode", [], [("FLOAT", [3])], [0.75, "fixed"]))
    nested["nodes"][1]["inputs"][1]["link"] = 3
    nested["links"].append([3, 5, 0, 2, 1, "FLOAT"])
    assert queued(nested)["2:2"]["strength"] == 0.75


def test_a_good_subgraph_is_no_complaint(nested: dict[str, Any]) -> None:
    assert complaints(nested, INFOS) == []


def set_at(place: str, value: Any) -> Any:
    """A change of a workflow, where a place such as nodes.1.inputs.0.type leads."""

    def change(workflow: dict[str, Any]) -> None:
        *path, last = (int(step) if step.isdigit() else step for step in place.split("."))
        for step in path:
            workflow = workflow[step]
        workflow[last] = value

    return change


MISTAKES = {
    "there is no such node": set_at("nodes.2.type", "Gone"),
    "version 1": set_at("version", 1),
    "lower than an id": set_at("last_link_id", 1),
    "an id occurs twice": set_at("nodes.3.id", 1),
    "empty": set_at("nodes.3.widgets_values", [" "]),
    "input seed is INT, not FLOAT": set_at("nodes.1.inputs.1.type", "FLOAT"),
    "there is no input sead": set_at("nodes.1.inputs.1.name", "sead"),
    "nothing is linked to image": set_at("nodes.2.inputs.0.link", None),
    "its target does not know it": set_at("nodes.2.inputs.0.link", 1),
    "its origin does not know it": set_at("nodes.1.outputs.0.links", []),
    "its link 9 does not exist": set_at("nodes.1.outputs.0.links", [2, 9]),
    "there is no target": set_at("links.1", [2, 2, 0, 3, 4, "IMAGE"]),
    "MASK at the origin": set_at("links.1", [2, 2, 0, 3, 0, "MASK"]),
    "outputs [('MASK', 'MASK')] are": set_at("nodes.1.outputs", [{"name": "MASK", "type": "MASK", "links": [2]}]),
    "there is no origin": set_at("nodes.1.outputs", []),
    "3 values for 4 widgets": set_at("nodes.1.widgets_values", [7, 1, "other"]),
    "seed is followed by 1": set_at("nodes.1.widgets_values", [7, 1, 1, "other"]),
    "strength 2 is out of range": set_at("nodes.1.widgets_values", [7, "fixed", 2, "other"]),
    "seed 0.5 is no INT": set_at("nodes.1.widgets_values", [0.5, "fixed", 1, "other"]),
    "method 'third' cannot be chosen": set_at("nodes.1.widgets_values", [7, "fixed", 1, "third"]),
    "downloads of": set_at("nodes.0.properties", {"models": [{"name": "c.png"}]}),
    "Load 1 and Sample 2 overlap": set_at("nodes.1.pos", [450, 120]),
    "Show 3 is half in the group all": set_at("groups.0.bounding", [290, -50, 700, 160]),
}


@pytest.mark.parametrize("complaint", MISTAKES)
def test_a_mistake_is_a_complaint(workflow: dict[str, Any], complaint: str) -> None:
    assert complaints(workflow, INFOS) == []
    MISTAKES[complaint](workflow)
    found = complaints(workflow, INFOS)
    assert any(complaint in line for line in found), found


def test_what_is_muted_may_choose_a_file_that_is_still_to_come(workflow: dict[str, Any]) -> None:
    workflow["nodes"][1]["widgets_values"] = [7, "fixed", 1, "third"]
    workflow["nodes"][1]["mode"] = MUTED
    assert complaints(workflow, INFOS) == []
    workflow["nodes"][1]["widgets_values"] = [7, "fixed", 2, "third"]
    assert "strength 2 is out of range" in complaints(workflow, INFOS)[0]


NESTED_MISTAKES = {
    "Subgraph: inputs name other links": set_at("definitions.subgraphs.0.inputs.0.linkIds", []),
    "Subgraph: link 3: IMAGE at IMAGE, which is MASK": set_at("definitions.subgraphs.0.outputs.0.type", "MASK"),
    "inputs [('power', 'FLOAT')]": set_at("nodes.1.inputs", [socket("power", "FLOAT")]),
    "no widgets {('2', 'sead')}": set_at("nodes.1.properties", {"proxyWidgets": [["2", "sead"]]}),
    "Subgraph: Sample 2: input seed is INT": set_at("definitions.subgraphs.0.nodes.0.inputs.1.type", "FLOAT"),
}


@pytest.mark.parametrize("complaint", NESTED_MISTAKES)
def test_a_mistake_in_a_subgraph_is_a_complaint(nested: dict[str, Any], complaint: str) -> None:
    NESTED_MISTAKES[complaint](nested)
    found = complaints(nested, INFOS)
    assert any(complaint in line for line in found), found
