"""Arrange the example workflows so that no node covers another: `python -m tests.support.browser.layout [NAME ...]`.

Every workflow is opened in both renderers, and those that run here are run; each node gets the room it needs at its
largest. Nodes whose left edges are close are a column, and keep their order. Run it after a change to an input of a
node, to the viewer or to a workflow. Tests use `states` and `overlaps`.
"""

from __future__ import annotations

import json
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from itertools import combinations
from pathlib import Path
from typing import Any

from ..comfyui.boot import find_host
from ..server.client import running
from ..server.examples import BLUEPRINTS, NEED_NO_DOWNLOAD, workflows
from ..server.front_end import find_front_end
from ..server.workflow import load_workflow
from .chromium import chromium, find_chromium
from .editor import Editor

Box = tuple[float, float, float, float]  # left, top, right, bottom

VIEW = (1600, 1000)  # pixels of the window that a workflow's saved view is made for
CORNER = (90, 150)  # pixels of that window where the upper left node stands, clear of the side bar and the tabs
SCALE = 0.8  # at which the smallest text can be read
TITLE = 30  # pixels above a node's position
GAP = (50, 34)  # between columns, and between nodes of a column: a footer that names an error fits
BORDER, HEADING = 20, 50  # of a group beside and above its nodes
SAME_COLUMN = 40
SIZES = """() => Object.fromEntries(window.app.canvas.graph.nodes.map((node) => {
  const element = document.querySelector(`[data-node-id="${node.id}"]`);
  const [left, top, width, height] = node.getBounding();
  if (!element) return [node.id, [left, top, left + width, top + height]];
  const { ds, canvas } = window.app.canvas;
  const [zero, box] = [canvas.getBoundingClientRect(), element.getBoundingClientRect()];
  const x = (box.left - zero.left) / ds.scale - ds.offset[0], y = (box.top - zero.top) / ds.scale - ds.offset[1];
  return [node.id, [x, y, x + box.width / ds.scale, y + box.height / ds.scale]];
}))"""
FAIL_ALL = """() => {
  const stores = document.querySelector("#vue-app").__vue_app__.config.globalProperties.$pinia._s;
  const nodes = window.app.canvas.graph.nodes.filter((node) => node.type !== "MarkdownNote");
  const errors = [{ type: "value_smaller_than_min", message: "Value too small", details: "", extra_info: {} }];
  stores.get("executionError").lastNodeErrors = Object.fromEntries(
    nodes.map((node) => [node.id, { errors, class_type: node.type, dependent_outputs: [] }]));
}"""
FAIL_NONE = """() => {
  const stores = document.querySelector("#vue-app").__vue_app__.config.globalProperties.$pinia._s;
  stores.get("executionError").lastNodeErrors = null;
}"""


def boxes(editor: Editor) -> dict[str, Box]:
    """What every node of the open graph covers, in the graph's pixels, with its title and its footer."""
    editor.wait_for_drawing()
    return {number: tuple(box) for number, box in editor.page.evaluate(SIZES).items()}


def states(editor: Editor, workflow: Mapping[str, Any], run: bool) -> Iterator[tuple[str, dict[str, Box]]]:
    """The boxes of a workflow's nodes as it opens, after a run, and with an error at every node.

    Args:
        run: whether it can run here.
    """
    editor.page.evaluate("(workflow) => window.app.loadGraphData(workflow)", dict(workflow))
    editor.settle()
    yield "opened", boxes(editor)
    if run:
        editor.run()
        editor.settle()
        yield "after a run", boxes(editor)
    editor.page.evaluate(FAIL_ALL)
    editor.settle()
    yield "with errors", boxes(editor)
    editor.page.evaluate(FAIL_NONE)


def overlaps(found: Mapping[str, Box]) -> list[tuple[str, str]]:
    """Pairs of nodes that cover each other."""
    return [
        (one, other)
        for (one, first), (other, second) in combinations(found.items(), 2)
        if first[0] < second[2] and second[0] < first[2] and first[1] < second[3] and second[1] < first[3]
    ]


def sizes(editor: Editor, workflow: Mapping[str, Any], run: bool) -> dict[str, tuple[float, float]]:
    """The largest width and height of every node in both renderers, its title included."""
    largest: dict[str, tuple[float, float]] = {}
    for renderer in ("canvas", "nodes2"):
        editor.render(renderer)
        for _, found in states(editor, workflow, run):
            for number, (left, top, right, bottom) in found.items():
                width, height = largest.get(number, (0.0, 0.0))
                largest[number] = (max(width, right - left), max(height, bottom - top))
    return largest


def arrange(graph: dict[str, Any], room: Mapping[str, tuple[float, float]]) -> None:
    """Move the nodes of a graph, or of a subgraph's definition, into columns, and fit its groups around them.

    Args:
        graph: in the format the front end saves; it is changed.
        room: width and height of every node, with its title.
    """
    groups = [(group, _members(group, graph["nodes"])) for group in graph.get("groups", [])]
    left, last_group = 0.0, object()
    for number, column in enumerate(_columns(graph["nodes"])):
        group = next((id(group) for group, members in groups if column[0] in members), None)
        if number:
            left += GAP[0] + (2 * BORDER if group != last_group else 0)
        last_group = group
        top = 0.0
        for node in column:
            width, height = room[str(node["id"])]
            node["pos"] = [round(left), round(top)]
            top += height + GAP[1]
        left += max(room[str(node["id"])][0] for node in column)
    for group, members in groups:
        group["bounding"] = _around(members, room)
    if groups:
        lowest = max(group["bounding"][1] + group["bounding"][3] for group, _ in groups)
        for group, _ in groups:
            group["bounding"][3] = lowest - group["bounding"][1]


def saved_view(nodes: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """The view with which a workflow opens: readable, its upper left corner in the window's."""
    left, top = min(node["pos"][0] for node in nodes), min(node["pos"][1] for node in nodes) - TITLE
    return {"scale": SCALE, "offset": [round(CORNER[0] / SCALE - left), round(CORNER[1] / SCALE - top)]}


def _columns(nodes: Sequence[dict[str, Any]]) -> list[list[dict[str, Any]]]:
    columns: list[list[dict[str, Any]]] = []
    for node in sorted(nodes, key=lambda node: node["pos"][0]):
        if columns and node["pos"][0] - columns[-1][0]["pos"][0] < SAME_COLUMN:
            columns[-1].append(node)
        else:
            columns.append([node])
    return [sorted(column, key=lambda node: node["pos"][1]) for column in columns]


def _members(group: Mapping[str, Any], nodes: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    left, top, width, height = group["bounding"]
    return [
        node
        for node in nodes
        if left <= node["pos"][0] <= left + width and top <= node["pos"][1] - TITLE <= top + height
    ]


def _around(members: Sequence[Mapping[str, Any]], room: Mapping[str, tuple[float, float]]) -> list[float]:
    left = min(node["pos"][0] for node in members) - BORDER
    top = min(node["pos"][1] for node in members) - TITLE - HEADING
    right = max(node["pos"][0] + room[str(node["id"])][0] for node in members) + BORDER
    bottom = max(node["pos"][1] - TITLE + room[str(node["id"])][1] for node in members) + BORDER
    return [left, top, round(right - left), round(bottom - top)]


def as_workflow(definition: Mapping[str, Any]) -> dict[str, Any]:
    """The inside of a subgraph as a workflow of its own, without links."""
    nodes = [
        {
            **node,
            "inputs": [{**socket, "link": None} for socket in node["inputs"]],
            "outputs": [{**socket, "links": []} for socket in node["outputs"]],
        }
        for node in definition["nodes"]
    ]
    last = definition["state"]["lastNodeId"]
    return {"nodes": nodes, "links": [], "last_node_id": last, "last_link_id": 0, "version": 0.4, "extra": {}}


def main(names: Sequence[str]) -> int:
    files = [*workflows().values(), *BLUEPRINTS.glob("*.json")]
    chosen = [file for file in files if not names or any(name in file.stem for name in names)]
    with (
        tempfile.TemporaryDirectory() as folder,
        running(find_host().root, Path(folder) / "server", find_front_end()) as client,
        chromium(find_chromium()) as browser,
    ):
        page = browser.new_page(viewport={"width": VIEW[0], "height": VIEW[1]})
        editor = Editor(page, client, Path(folder))
        editor.open()
        for file in chosen:
            arrange_file(editor, file)
            print(file, flush=True)
    return 0


def arrange_file(editor: Editor, file: Path) -> None:
    """Arrange one workflow, with its subgraphs, or a blueprint."""
    workflow = load_workflow(file)
    for definition in workflow.get("definitions", {}).get("subgraphs", []):
        arrange(definition, sizes(editor, as_workflow(definition), run=False))
    if file.parent != BLUEPRINTS:
        arrange(workflow, sizes(editor, workflow, run=file.stem.endswith(NEED_NO_DOWNLOAD)))
        workflow["extra"]["ds"] = saved_view(workflow["nodes"])
    file.write_text(json.dumps(workflow, ensure_ascii=False, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
