"""Add new widgets of nodes, with defaults, to saved workflows: `python -m tests.support.server.widgets`.

Run it after adding an optional input to a node: workflows keep the values of widgets in a list.
"""

from __future__ import annotations

import json
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ..comfyui.boot import find_host
from .client import running
from .examples import BLUEPRINTS, FOLDER
from .workflow import inputs_of, load_workflow

HEIGHT = 24  # pixels of a widget
TITLE, MARGIN = 30, 20  # pixels above a node's position, and below the lowest node of a group


def main() -> int:
    with tempfile.TemporaryDirectory() as base, running(find_host().root, Path(base) / "server") as client:
        infos = client.object_info()
    for file in sorted([*FOLDER.glob("*.json"), *BLUEPRINTS.glob("*.json")]):
        workflow = load_workflow(file)
        if add_widgets(workflow, infos):
            file.write_text(json.dumps(workflow, ensure_ascii=False, indent=2) + "\n", encoding="utf-8")
            print(file)
    return 0


def add_widgets(workflow: dict[str, Any], infos: Mapping[str, Mapping[str, Any]]) -> bool:
    """Add missing widgets in the order of inputs, and make room for them; returns whether any was missing.

    Args:
        workflow: in the format the front end saves; it is changed.
        infos: every node's inputs and outputs, from /object_info.
    """
    found = False
    for graph in (workflow, *workflow.get("definitions", {}).get("subgraphs", [])):
        for node in graph["nodes"]:
            added = _add_to(node, infos[node["type"]]) if node["type"] in infos else 0
            if added:
                _make_room(graph, node, added * HEIGHT)
                found = True
    return found


def _add_to(node: dict[str, Any], info: Mapping[str, Any]) -> int:
    """Add missing widgets to a node; returns how many. Its inputs tell which it has already."""
    known = {given["name"] for given in node["inputs"]}
    typed = [given for given in inputs_of(info) if given.typed_in]
    missing = [given for given in typed if given.name not in known]
    old, values = list(node.get("widgets_values") or []), []
    for given in typed:
        if given in missing:
            values.append(given.options.get("default", next(iter(given.options.get("options", [])), "")))
            widget = {"localized_name": given.name, "name": given.name, "type": given.kind, "link": None, "shape": 7}
            node["inputs"].append({**widget, "widget": {"name": given.name}})
        else:
            values += [old.pop(0) for _ in range(1 + given.extra)]
    if missing:
        node["widgets_values"] = values + old
    return len(missing)


def _make_room(graph: Mapping[str, Any], node: dict[str, Any], more: float) -> None:
    """Make a node taller; those below it in its groups move down, and the groups' borders with them."""
    groups = graph.get("groups", [])
    held = [(group, [one for one in graph["nodes"] if _holds(group["bounding"], one)]) for group in groups]
    homes = [nodes for _, nodes in held if node in nodes] or [graph["nodes"]]
    left, right = node["pos"][0], node["pos"][0] + node["size"][0]
    for one in homes[0]:
        below = one["pos"][1] > node["pos"][1]
        if below and one["pos"][0] < right and left < one["pos"][0] + one["size"][0]:
            one["pos"][1] += more
    node["size"][1] += more
    bottoms = {id(group): group["bounding"][1] + group["bounding"][3] for group, _ in held}
    for group, nodes in held:
        lowest = max((one["pos"][1] + one["size"][1] + MARGIN for one in nodes), default=0)
        if lowest > bottoms[id(group)]:
            for other, _ in held:  # groups that ended at one line still do
                if bottoms[id(other)] == bottoms[id(group)]:
                    other["bounding"][3] = max(other["bounding"][3], lowest - other["bounding"][1])


def _holds(bounding: list[float], node: Mapping[str, Any]) -> bool:
    (x, y), (width, height) = node["pos"], node["size"]
    left, top, wide, high = bounding
    return left <= x and top <= y - TITLE and x + width <= left + wide and y + height <= top + high


if __name__ == "__main__":
    sys.exit(main())
