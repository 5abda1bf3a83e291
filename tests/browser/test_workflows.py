"""The example workflows as they open: nothing covers anything, and the quick start is seen whole."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from playwright.sync_api import expect

from ..support.browser.editor import Editor
from ..support.browser.layout import SCALE, VIEW, Box, boxes, overlaps, states
from ..support.browser.viewer_page import ViewerPage
from ..support.server.client import Client
from ..support.server.examples import NEED_NO_DOWNLOAD, workflows
from ..support.server.workflow import load_workflow
from .conftest import PATIENCE_MS

WORKFLOWS = workflows()
QUICK_START = f"01 Quick start{NEED_NO_DOWNLOAD}"
APP = f"02 Find concepts as an app{NEED_NO_DOWNLOAD}"
BARS = (60, 40)  # pixels of the window's side bar and tabs


@pytest.fixture
def window(editor: Editor) -> Iterator[Editor]:
    """A window of the size that the workflows' views are made for."""
    before = editor.page.viewport_size
    assert before
    editor.page.set_viewport_size({"width": VIEW[0], "height": VIEW[1]})
    yield editor
    editor.page.set_viewport_size(before)


@pytest.mark.parametrize("name", [name for name in WORKFLOWS if name not in (QUICK_START, APP)])
def test_no_node_covers_another(window: Editor, name: str) -> None:
    workflow = load_workflow(WORKFLOWS[name])
    for state, found in states(window, workflow, run=False):
        assert overlaps(found) == [], state
    assert view(window)["scale"] == workflow["extra"]["ds"]["scale"] >= SCALE


def test_the_quick_start_is_seen_whole_and_readable_before_and_after_a_run(window: Editor, comfyui: Client) -> None:
    workflow = load_workflow(WORKFLOWS[QUICK_START])
    assert len(workflow["nodes"]) <= 7
    for state, found in states(window, workflow, run=True):
        assert overlaps(found) == [], state
        assert view(window)["scale"] >= SCALE
        left, top, right, bottom = in_window(window, found)
        assert BARS[0] <= left and BARS[1] <= top and right <= VIEW[0] and bottom <= VIEW[1], state
        window.screenshot(f"quick_start_{window.renderer}_{state.replace(' ', '_')}")
    (number,) = (str(node["id"]) for node in workflow["nodes"] if node["type"] == "ConceptHeatmapViewer")
    column = sorted({round(box[0]) for box in found.values()}).index(round(found[number][0]))
    assert column == 2  # of four
    viewer = ViewerPage(window, number, (256, 256))
    expect(viewer.find(".ca-bar")).to_have_count(5)


def test_the_app_shows_what_is_typed_in_the_viewer_and_the_result(window: Editor) -> None:
    window.page.evaluate("(workflow) => window.app.loadGraphData(workflow)", load_workflow(WORKFLOWS[APP]))
    page = window.page
    try:  # in Nodes 2.0 the graph is there as well, behind the app and hidden
        for label in ("prompt", "what to look for", "what else is there", "seed", "Concept Viewer"):
            expect(page.get_by_text(label, exact=True).filter(visible=True).first).to_be_visible()
        window.run()
        expect(page.locator(".ca-viewer .ca-bar").filter(visible=True).first).to_be_visible(timeout=PATIENCE_MS)
        expect(page.locator("img[src*='type=temp']").filter(visible=True).first).to_be_visible(timeout=PATIENCE_MS)
        window.screenshot(f"app_{window.renderer}")
    finally:
        window.page.evaluate("(workflow) => window.app.loadGraphData(workflow)", load_workflow(WORKFLOWS[QUICK_START]))
        boxes(window)


def view(editor: Editor) -> dict[str, float]:
    return {"scale": float(editor.page.evaluate("window.app.canvas.ds.scale"))}


def in_window(editor: Editor, found: dict[str, Box]) -> Box:
    """What all nodes together cover, in pixels of the window."""
    scale, x, y = editor.page.evaluate("[window.app.canvas.ds.scale, ...window.app.canvas.ds.offset]")
    lefts, tops, rights, bottoms = zip(*found.values(), strict=True)
    return (min(lefts) + x) * scale, (min(tops) + y) * scale, (max(rights) + x) * scale, (max(bottoms) + y) * scale
