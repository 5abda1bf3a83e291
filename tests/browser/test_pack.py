"""The pack in ComfyUI's front end: example workflows open and run, nodes say what they found, sockets have colours."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import unquote, urlsplit

import pytest
from playwright.sync_api import expect

from ..support.browser.editor import EXTENSION, READY, Editor
from ..support.browser.viewer_page import ViewerWorkflow
from ..support.server.client import Client
from ..support.server.examples import NEED_NO_DOWNLOAD, workflows
from ..support.server.front_end import find_front_end, version_of
from ..support.server.landscape import Landscape
from ..support.server.workflow import load_workflow, titled, to_graph

if TYPE_CHECKING:
    from playwright.sync_api import Browser

QUICK_START = workflows()[f"01 Quick start{NEED_NO_DOWNLOAD}"]
WEB = Path(__file__).resolve().parents[2] / "web"
MOST_BYTES = 16_000  # of the scripts that every page of ComfyUI loads
TYPES = ("CA_CONCEPTS", "CA_RECORDING", "CA_HEATMAPS")


def test_the_front_end_is_the_one_that_comfyui_asks_for(editor: Editor, comfyui: Client) -> None:
    front_end = find_front_end()
    assert front_end and editor.page.evaluate("window.__COMFYUI_FRONTEND_VERSION__") == version_of(front_end)


def test_every_page_loads_each_script_once(browser: Browser, opened: Editor) -> None:
    """ComfyUI's front end imports every script of a pack, but not those in hidden folders: the viewer's modules."""
    page = browser.new_page()
    addresses: list[str] = []
    page.on("request", lambda request: addresses.append(unquote(urlsplit(request.url).path)))
    page.goto(opened.page.url, wait_until="domcontentloaded")
    page.wait_for_function(READY, arg=EXTENSION)
    page.close()
    files = [path for path in WEB.rglob("*.js") if not path.relative_to(WEB).parts[0].startswith(".")]
    scripts = {path.relative_to(WEB).as_posix(): path.stat().st_size for path in files}
    folder = re.compile("/extensions/[^/]*ConceptAttention[^/]*/")
    loaded = [folder.sub("", address) for address in addresses if folder.match(address) and address.endswith(".js")]
    assert sorted(loaded) == sorted(scripts)
    assert sum(scripts.values()) < MOST_BYTES


def test_quick_start_opens_and_shows_its_images(editor: Editor, comfyui: Client) -> None:
    workflow = load_workflow(QUICK_START)
    editor.load(workflow)
    expected = to_graph(workflow, comfyui.object_info()).as_prompt()
    queued = {number: {key: node[key] for key in ("class_type", "inputs")} for number, node in editor.prompt().items()}
    assert queued == expected
    run = editor.run()
    for title in ("Mask of the picked concepts", "Which concept is where"):
        node = titled(workflow, title)
        sizes = [(image.shape[1], image.shape[0]) for image in comfyui.images(run, node)]
        assert editor.images_of(node, len(sizes)) == sizes
    editor.show_all()
    editor.screenshot(f"quick_start_{editor.renderer}")


def test_a_node_says_what_it_found(editor: Editor, comfyui: Client) -> None:
    start = Landscape()
    start.recorded()
    editor.load(start.graph)
    run = editor.run()
    report = editor.widget(start.encoded, "pre")
    editor.show_node(start.encoded)
    expect(report).to_be_visible()
    expect(report).to_have_text(comfyui.text(run, start.encoded))


@pytest.mark.parametrize("palette", ["light", "dark"])
def test_sockets_keep_their_colours_in_every_palette(editor: Editor, palette: str) -> None:
    editor.set("Comfy.ColorPalette", palette)
    editor.wait_for_drawing()
    wires = "(types) => types.map((type) => window.app.canvas.constructor.link_type_colors[type])"
    slots = "(types) => types.map((type) => window.app.canvas.default_connection_color_byType[type])"
    rules = """(types) => types.map(
      (type) => getComputedStyle(document.documentElement).getPropertyValue(`--color-datatype-${type}`).trim())"""
    found = [editor.page.evaluate(script, list(TYPES)) for script in (wires, slots, rules)]
    assert found[0] == found[1] == found[2] and len(set(found[0])) == len(TYPES)
    assert all(re.fullmatch("#[0-9A-F]{6}", colour) for colour in found[0])


def test_a_help_page_opens_with_its_image(editor: Editor) -> None:
    workflow = ViewerWorkflow()
    editor.load(workflow.graph)
    editor.show_node(workflow.viewer)
    select = "(number) => window.app.canvas.selectNode(window.app.canvas.graph.getNodeById(number))"
    editor.page.evaluate(select, workflow.viewer.number)
    editor.page.get_by_test_id("info-button").click()
    image = editor.page.locator("img[src$='/docs/ConceptHeatmapViewer/viewer.jpg']")
    expect(image).to_have_js_property("complete", True)
    assert image.evaluate("(image) => image.naturalWidth") > 0
    editor.screenshot(f"help_{editor.renderer}")
    editor.page.get_by_label("Toggle properties panel").click()
    # the front end requests the page in the user's language first
    assert {urlsplit(error.text).path.rsplit("/", 1)[-1] for error in editor.errors.ours} <= {"en.md"}
    editor.errors.found.clear()


def test_the_server_is_asked_for_nothing_deprecated(comfyui: Client, editor: Editor) -> None:
    assert "DEPRECATION WARNING" not in comfyui.server.log.read_text(encoding="utf-8")
