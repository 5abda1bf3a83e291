"""Workflows as ComfyUI's front end saves them, and their conversion to API format."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from .graph import Graph, Node

NOTES = ("MarkdownNote", "Note")  # known only to the front end, like Reroute and PrimitiveNode
MUTED, BYPASSED = 2, 4  # a node's `mode`; others run
SUBGRAPH_INPUT, SUBGRAPH_OUTPUT = -10, -20  # ids of a subgraph's borders, for links inside it
CONTROLS = ("fixed", "increment", "decrement", "randomize")
SUBGRAPH_LINK = ("origin_id", "origin_slot", "target_id", "target_slot", "type")  # keys of a link in a subgraph
TYPED_IN = ("INT", "FLOAT", "STRING", "BOOLEAN", "COMBO")


class Input(NamedTuple):
    """An input of a node, as /object_info describes it.

    Attributes:
        kind: socket type.
        typed_in: whether it is a widget.
        extra: number of further values in `widgets_values`: the control of a seed, an upload button.
    """

    name: str
    kind: str
    options: Mapping[str, Any]
    required: bool
    typed_in: bool
    extra: int


class Link(NamedTuple):
    """A link from a node's output to a node's input in the same (sub)graph."""

    origin: int
    origin_slot: int
    target: int
    target_slot: int
    kind: str


class Value(NamedTuple):
    """The value of a widget of another node."""

    value: Any


def load_workflow(file: Path) -> dict[str, Any]:
    return dict(json.loads(file.read_text(encoding="utf-8")))


def inputs_of(info: Mapping[str, Any]) -> list[Input]:
    """A node's inputs, in the order of its widgets."""
    found = []
    for group in ("required", "optional"):
        for name in info["input_order"].get(group, []):
            kind, options = (*info["input"][group][name], {})[:2]
            if isinstance(kind, list):
                kind, options = "COMBO", {**options, "options": kind}
            typed_in = kind in TYPED_IN and not options.get("forceInput")
            extra = bool(options.get("control_after_generate")) + bool(options.get("image_upload"))
            found.append(Input(name, kind, options, group == "required", typed_in, extra))
    return found


def widget_values(node: Mapping[str, Any], info: Mapping[str, Any]) -> dict[str, Any]:
    """The values of a node's widgets, by input.

    Raises:
        ValueError: if the number of values is not that of the widgets.
    """
    values = list(node.get("widgets_values") or [])
    typed = [given for given in inputs_of(info) if given.typed_in]
    expected = sum(1 + given.extra for given in typed)
    if len(values) != expected:
        raise ValueError(f"{len(values)} values for {expected} widgets: {values}")
    found = {}
    for given in typed:
        found[given.name] = values.pop(0)
        del values[: given.extra]
    return found


@dataclass
class Level:
    """A graph, or the inside of a subgraph node.

    Attributes:
        prefix: of its nodes' ids in the prompt.
        inside: definitions of subgraphs, by id.
        outer: the graph that the subgraph node is in; None at the top.
        instance: the subgraph node; None at the top.
    """

    content: Mapping[str, Any]
    inside: Mapping[str, Mapping[str, Any]]
    prefix: str = ""
    outer: Level | None = None
    instance: Mapping[str, Any] | None = None

    def __post_init__(self) -> None:
        self.nodes = {node["id"]: node for node in self.content["nodes"]}
        self.links = dict(read_link(link) for link in self.content["links"])

    def enter(self, node: Mapping[str, Any]) -> Level:
        """The inside of a subgraph node."""
        return Level(self.inside[node["type"]], self.inside, f"{self.prefix}{node['id']}:", self, node)

    def running(self) -> Iterator[tuple[Level, Mapping[str, Any]]]:
        """Every node that the server runs, with the level it is in."""
        for node in self.nodes.values():
            if node["type"] in self.inside:
                if node["mode"] not in (MUTED, BYPASSED):
                    yield from self.enter(node).running()
            elif node["type"] not in (*NOTES, "Reroute", "PrimitiveNode") and node["mode"] not in (MUTED, BYPASSED):
                yield self, node

    def source(self, number: int | None) -> list[Any] | Value | None:
        """The source of a link: an output of a node that runs, a value, or None."""
        if number is None:
            return None
        link = self.links[number]
        if link.origin == SUBGRAPH_INPUT:
            return self._from_outside(link.origin_slot)
        node = self.nodes[link.origin]
        if node["mode"] == MUTED:
            return None
        if node["mode"] == BYPASSED:
            return self.source(next((given["link"] for given in node["inputs"] if given["type"] == link.kind), None))
        if node["type"] == "Reroute":
            return self.source(node["inputs"][0]["link"])
        if node["type"] == "PrimitiveNode":
            return Value(node["widgets_values"][0])
        if node["type"] in self.inside:
            (inner,) = self.inside[node["type"]]["outputs"][link.origin_slot]["linkIds"]
            return self.enter(node).source(inner)
        return [f"{self.prefix}{node['id']}", link.origin_slot]

    def _from_outside(self, slot: int) -> list[Any] | Value | None:
        assert self.outer and self.instance
        given = self.instance["inputs"][slot]
        found = self.outer.source(given["link"])
        widgets = [other["name"] for other in self.instance["inputs"] if "widget" in other]
        values = dict(zip(widgets, self.instance.get("widgets_values") or [], strict=False))
        return Value(values[given["name"]]) if found is None and given["name"] in values else found


def read_link(link: Any) -> tuple[int, Link]:
    """A link's number and the link: a list in a graph, named in a subgraph."""
    if isinstance(link, Mapping):
        return link["id"], Link(*(link[key] for key in SUBGRAPH_LINK))
    return link[0], Link(*link[1:])


def top_level(workflow: Mapping[str, Any]) -> Level:
    subgraphs = workflow.get("definitions", {}).get("subgraphs", [])
    return Level(workflow, {definition["id"]: definition for definition in subgraphs})


def to_graph(workflow: Mapping[str, Any], infos: Mapping[str, Mapping[str, Any]]) -> Graph:
    """The graph that the front end queues when Run is pressed.

    Args:
        workflow: in the format the front end saves.
        infos: every node's inputs and outputs, from /object_info.

    Raises:
        ValueError: if the values of a node do not match its widgets.
        KeyError: for a node that the server does not have.
    """
    prompt = {}
    for level, node in top_level(workflow).running():
        inputs = widget_values(node, infos[node["type"]])
        for given in node.get("inputs") or []:
            found = level.source(given["link"])
            if found is not None:
                inputs[given["name"]] = found.value if isinstance(found, Value) else found
        prompt[f"{level.prefix}{node['id']}"] = {"class_type": node["type"], "inputs": inputs}
    return Graph.of(prompt)


def titled(workflow: Mapping[str, Any], title: str) -> Node:
    """The only node of the graph with this title."""
    (node,) = (node for node in workflow["nodes"] if node.get("title") == title)
    return Node(str(node["id"]))
