"""Checks of saved workflows: what the front end would mark as wrong, and what makes them hard to read."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import combinations
from typing import Any

from .workflow import (
    CONTROLS,
    MUTED,
    NOTES,
    SUBGRAPH_INPUT,
    SUBGRAPH_OUTPUT,
    Input,
    Level,
    inputs_of,
    top_level,
    widget_values,
)

TITLE = 30  # pixels above a node's position
Box = tuple[float, float, float, float]


def complaints(workflow: Mapping[str, Any], infos: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """Everything wrong with a workflow and its subgraphs; an empty list if nothing is.

    Args:
        workflow: in the format the front end saves.
        infos: every node's inputs and outputs, from the server's /object_info.
    """
    top = top_level(workflow)
    found = [] if workflow.get("version") == 0.4 else [f"version {workflow.get('version')}"]
    found += _graph(top, infos, workflow["last_node_id"], workflow["last_link_id"])
    for definition in top.inside.values():
        state = definition["state"]
        level = Level(definition, top.inside)
        inner = [*_graph(level, infos, state["lastNodeId"], state["lastLinkId"]), *_borders(level)]
        found += [f"{definition['name']}: {complaint}" for complaint in inner]
    return found


def _graph(level: Level, infos: Mapping[str, Mapping[str, Any]], last_node: int, last_link: int) -> Iterator[str]:
    nodes = level.content["nodes"]
    if len(level.nodes) != len(nodes) or len(level.links) != len(level.content["links"]):
        yield "an id occurs twice"
    if max(level.nodes) > last_node or max(level.links, default=0) > last_link:
        yield "last_node_id or last_link_id is lower than an id"
    for node in nodes:
        name = f"{node['type']} {node['id']}"
        if node["type"] in level.inside:
            yield from (f"{name}: {complaint}" for complaint in _instance(node, level.inside[node["type"]]))
        elif node["type"] in NOTES:
            if not node["widgets_values"][0].strip():
                yield f"{name}: empty"
        elif node["type"] not in infos:
            yield f"{name}: there is no such node"
        else:
            yield from (f"{name}: {complaint}" for complaint in _node(node, infos[node["type"]]))
    yield from _links(level)
    yield from _layout(level.content)


def _node(node: Mapping[str, Any], info: Mapping[str, Any]) -> Iterator[str]:
    """A node's sockets are those of the server, required inputs are linked, and its values are allowed."""
    known = {given.name: given for given in inputs_of(info)}
    given = {socket["name"]: socket for socket in node["inputs"]}
    for name, socket in given.items():
        if name not in known:
            yield f"there is no input {name}"
        elif socket["type"] != known[name].kind:
            yield f"input {name} is {known[name].kind}, not {socket['type']}"
        elif ("widget" in socket) != known[name].typed_in:
            yield f"input {name}: a widget, or none?"
    for wanted in known.values():
        linked = given.get(wanted.name, {}).get("link") is not None
        if wanted.required and not wanted.typed_in and not linked:
            yield f"nothing is linked to {wanted.name}"
    offered = list(zip(info["output_name"], info["output"], strict=True))
    sockets = node["outputs"]
    if node["properties"].get("cnr_id") == "comfy-core":  # older versions of a node may have fewer
        sockets = [socket for at, socket in enumerate(sockets) if at < len(offered) or socket["links"]]
    outputs = [(socket["name"], socket["type"]) for socket in sockets]
    if outputs != offered[: len(outputs)]:  # and later ones more
        yield f"outputs {outputs} are {info['output_name']}"
    if info.get("deprecated"):
        yield "deprecated"
    try:
        values = widget_values(node, info)
    except ValueError as error:
        yield str(error)
        return
    for name, value in values.items():
        to_come = node["mode"] == MUTED and known[name].kind == "COMBO"  # a file that the rest of the workflow makes
        if not to_come:
            yield from _value(known[name], value)
    yield from _controls(node, known.values())
    named = {model["name"] for model in node["properties"].get("models", [])}
    if named - set(values.values()):
        yield f"downloads of {named} for {values}"


def _value(given: Input, value: Any) -> Iterator[str]:
    kinds: dict[str, Any] = {"INT": int, "FLOAT": (int, float), "STRING": str, "BOOLEAN": bool, "COMBO": object}
    options = given.options
    if not isinstance(value, kinds[given.kind]) or (given.kind in ("INT", "FLOAT") and isinstance(value, bool)):
        yield f"{given.name} {value!r} is no {given.kind}"
    elif given.kind in ("INT", "FLOAT"):
        if not options.get("min", value) <= value <= options.get("max", value):
            yield f"{given.name} {value} is out of range"
    elif given.kind == "COMBO" and value not in options["options"]:
        yield f"{given.name} {value!r} cannot be chosen"


def _controls(node: Mapping[str, Any], known: Iterable[Input]) -> Iterator[str]:
    """The value after a seed is one of CONTROLS."""
    position = 0
    for given in known:
        if given.typed_in:
            if given.options.get("control_after_generate") and node["widgets_values"][position + 1] not in CONTROLS:
                yield f"{given.name} is followed by {node['widgets_values'][position + 1]!r}"
            position += 1 + given.extra


def _links(level: Level) -> Iterator[str]:
    """Both ends of every link name it and have its type; no socket names a link that does not exist."""
    ends: set[tuple[str, int]] = set()
    for number, link in level.links.items():
        sockets = []
        if link.origin != SUBGRAPH_INPUT:
            sockets.append(("origin", _slot(level, link.origin, "outputs", link.origin_slot)))
        if link.target != SUBGRAPH_OUTPUT:
            sockets.append(("target", _slot(level, link.target, "inputs", link.target_slot)))
        for end, socket in sockets:
            if socket is None:
                yield f"link {number}: there is no {end}"
            elif number not in (socket["links"] if end == "origin" else [socket["link"]]):
                yield f"link {number}: its {end} does not know it"
            elif socket["type"] not in (link.kind, "*"):  # which takes anything
                yield f"link {number}: {link.kind} at the {end}, which is {socket['type']}"
        ends |= {(end, number) for end, _ in sockets}
    for node in level.content["nodes"]:
        known = [("origin", number) for socket in node["outputs"] for number in socket["links"] or []]
        known += [("target", socket["link"]) for socket in node["inputs"] if socket["link"] is not None]
        for end, number in known:
            if (end, number) not in ends:
                yield f"{node['type']} {node['id']}: its link {number} does not exist"


def _slot(level: Level, node: int, side: str, slot: int) -> Mapping[str, Any] | None:
    sockets = level.nodes.get(node, {}).get(side) or []
    return sockets[slot] if slot < len(sockets) else None


def _borders(level: Level) -> Iterator[str]:
    """A subgraph's inputs and outputs name the links that begin or end there."""
    for side, border, end in (("inputs", SUBGRAPH_INPUT, "origin"), ("outputs", SUBGRAPH_OUTPUT, "target")):
        sockets = level.content[side]
        named = {(number, slot) for slot, socket in enumerate(sockets) for number in socket["linkIds"]}
        drawn = {
            (number, getattr(link, f"{end}_slot")): link.kind
            for number, link in level.links.items()
            if getattr(link, end) == border
        }
        if named != set(drawn):
            yield f"{side} name other links than there are: {named ^ set(drawn)}"
        for (number, slot), kind in drawn.items():
            if slot < len(sockets) and sockets[slot]["type"] != kind:
                yield f"link {number}: {kind} at {sockets[slot]['name']}, which is {sockets[slot]['type']}"


def _instance(node: Mapping[str, Any], definition: Mapping[str, Any]) -> Iterator[str]:
    """A subgraph node has the sockets of its definition, and its widgets exist."""
    for side in ("inputs", "outputs"):
        here, there = ([(socket["name"], socket["type"]) for socket in part[side]] for part in (node, definition))
        if here != there:
            yield f"{side} {here} are {there}"
    inner = {(str(part["id"]), socket["name"]) for part in definition["nodes"] for socket in part["inputs"]}
    missing = {tuple(entry) for entry in node["properties"].get("proxyWidgets", [])} - inner
    if missing:
        yield f"no widgets {missing}"


def _layout(content: Mapping[str, Any]) -> Iterator[str]:
    """No node overlaps another or the border of a group; no group overlaps another."""
    nodes = {f"{node['type']} {node['id']}": _box(node) for node in content["nodes"]}
    groups = {group["title"]: _as_box(group["bounding"]) for group in content.get("groups", [])}
    for (first, one), (second, other) in [*combinations(nodes.items(), 2), *combinations(groups.items(), 2)]:
        if _overlap(one, other):
            yield f"{first} and {second} overlap"
    for title, group in groups.items():
        for name, node in nodes.items():
            if _overlap(node, group) and not _contains(group, node):
                yield f"{name} is half in the group {title}"


def _box(node: Mapping[str, Any]) -> Box:
    (left, top), (width, height) = node["pos"], node["size"]
    return left, top - TITLE, left + width, top + height


def _as_box(bounding: Sequence[float]) -> Box:
    left, top, width, height = bounding
    return left, top, left + width, top + height


def _overlap(one: Box, other: Box) -> bool:
    return one[0] < other[2] and other[0] < one[2] and one[1] < other[3] and other[1] < one[3]


def _contains(outer: Box, inner: Box) -> bool:
    return outer[0] <= inner[0] and outer[1] <= inner[1] and inner[2] <= outer[2] and inner[3] <= outer[3]
