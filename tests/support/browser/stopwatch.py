"""From an empty graph to a mask by three routes: `python -m tests.support.browser.stopwatch`.

Prints the clicks (presses of a mouse button; dragging a link is one), the texts typed, and the seconds that the page
and the run take. People take longer than a script; clicks and texts are the comparison.
"""

from __future__ import annotations

import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from ..comfyui.boot import find_host
from ..server.client import running
from ..server.examples import NEED_NO_DOWNLOAD
from ..server.front_end import find_front_end
from .chromium import chromium, find_chromium
from .editor import Editor
from .layout import VIEW

TEMPLATE = f"01 Quick start{NEED_NO_DOWNLOAD}"
PROMPT, WORDS = "a boat on water under a sun in the blue sky", "boat, sun"
SCALE = 0.5  # at which all nodes have room
FIRST, STEP, COLUMNS = (200, 180), (290, 350), 5  # where nodes are put, pixels of the window
EMPTY = (VIEW[0] / 2, VIEW[1] - 50)  # where nothing is
DOUBLE_CLICK_MS = 500  # after a click, the next one does not belong to it any more
SPOT = """([number, kind, which]) => {
  const { canvas } = window.app, node = canvas.graph.getNodeById(number);
  const sockets = kind === "output" ? node.outputs : node.inputs;
  const slot = sockets.findIndex((socket) => socket.name === which);
  const [x, y] = kind === "output" ? node.getOutputPos(slot) : node.getInputPos(slot);
  const box = canvas.canvas.getBoundingClientRect(), { scale, offset } = canvas.ds;
  return [(x + offset[0]) * scale + box.left, (y + offset[1]) * scale + box.top];
}"""
FOLLOWS_MOUSE = "() => window.app.canvas.state.ghostNodeId != null"  # a new node, until a click puts it down
NEWEST = "() => String(Math.max(...window.app.canvas.graph.nodes.map((node) => Number(node.id))))"


@dataclass
class Person:
    """Clicks in the page, and counts."""

    editor: Editor
    clicks: int = 0
    texts: int = 0
    nodes: dict[str, str] = field(default_factory=dict)  # ids, by title

    def click(self, name: str) -> None:
        """Click what has this text."""
        self.editor.page.get_by_text(name, exact=True).first.click()
        self.clicks += 1

    def add(self, name: str) -> None:
        """Add a node: double-click where nothing is, write its name, press Enter, click where it shall be."""
        page, count = self.editor.page, len(self.nodes)
        search = page.get_by_placeholder("Add a node")
        while not search.is_visible():
            page.wait_for_timeout(DOUBLE_CLICK_MS)
            page.mouse.dblclick(*EMPTY)  # a busy page takes it for two clicks
            page.wait_for_timeout(DOUBLE_CLICK_MS)
        page.keyboard.type(name)
        page.get_by_role("option").get_by_text(name, exact=True).first.wait_for()
        page.keyboard.press("Enter")
        search.wait_for(state="hidden")
        page.locator(".p-dialog-mask").wait_for(state="detached")
        page.wait_for_function(FOLLOWS_MOUSE)
        row, column = divmod(count, COLUMNS)
        page.mouse.move(FIRST[0] + STEP[0] * column, FIRST[1] + STEP[1] * row, steps=2)
        page.mouse.click(FIRST[0] + STEP[0] * column, FIRST[1] + STEP[1] * row)
        page.wait_for_function(f"() => !({FOLLOWS_MOUSE})()")
        self.clicks += 3
        self.texts += 1
        self.nodes[name] = str(page.evaluate(NEWEST))
        self.editor.wait_for_drawing()

    def link(self, source: str, output: str, target: str, socket: str) -> None:
        """Drag a link from an output to an input."""
        page = self.editor.page
        start = page.evaluate(SPOT, [self.nodes[source], "output", output])
        end = page.evaluate(SPOT, [self.nodes[target], "input", socket])
        page.mouse.move(*start)
        page.mouse.down()
        page.mouse.move(*end, steps=4)
        page.mouse.up()
        self.clicks += 1
        self.editor.wait_for_drawing()

    def write(self, node: str, widget: str, text: str | float) -> None:
        """Click into a widget and write."""
        number = self.nodes[node]
        change = """([number, name, value]) => {
          const widget = window.app.canvas.graph.getNodeById(number).widgets.find((one) => one.name === name);
          widget.value = value;
          widget.callback?.(value);
        }"""
        self.editor.page.evaluate(change, [number, widget, text])
        self.clicks += 1
        self.texts += 1

    def run(self) -> None:
        """Press Run, and wait until there is a mask."""
        assert any("images" in output or "concept_viewer" in output for output in self.editor.run().outputs.values())
        self.clicks += 1


def by_template(person: Person) -> None:
    """Open the quick start from the template browser."""
    page = person.editor.page
    person.click("Templates")
    page.get_by_text(person.editor.client.server.name, exact=True).first.click()
    page.get_by_text(TEMPLATE, exact=True).first.click()
    person.clicks += 2
    page.wait_for_function("() => window.app.canvas.graph.nodes.some((node) => node.type === 'ConceptHeatmapViewer')")
    person.run()


def by_blueprint(person: Person) -> None:
    """The blueprint beside a loader."""
    loader, whole, shown = "Load Landscape Model", "Text to Image with Concept Mask", "Preview Mask"
    for name in (loader, whole, shown):
        person.add(name)
    for output, socket in (("MODEL", "model"), ("CLIP", "clip"), ("VAE", "vae")):
        person.link(loader, output, whole, socket)
    person.link(whole, "mask", shown, "mask")
    for widget, value in (("prompt", PROMPT), ("concepts", WORDS), ("background", "sky, water")):
        person.write(whole, widget, value)
    for widget in ("width", "height"):
        person.write(whole, widget, 256)
    person.run()


def by_hand(person: Person) -> None:
    """A text-to-image graph of core's nodes, and three of ours."""
    loader, sampler, shown = "Load Landscape Model", "KSampler", "Preview Mask"
    prompt, size = "CLIP Text Encode (Prompt)", "Empty Latent Image"
    for name in (loader, prompt, size, sampler):
        person.add(name)
    person.link(loader, "CLIP", prompt, "clip")
    person.link(prompt, "CONDITIONING", sampler, "positive")
    person.link(prompt, "CONDITIONING", sampler, "negative")
    person.link(size, "LATENT", sampler, "latent_image")
    person.write(prompt, "text", PROMPT)
    person.write(sampler, "cfg", 1.0)
    for widget in ("width", "height"):
        person.write(size, widget, 256)
    before = (person.clicks, person.texts)
    record, collect = "Patch Model: Record Concepts", "Collect Concept Recording"
    mask = "Mask from Concept Heatmaps (Segment)"
    for name in (record, collect, mask, shown):
        person.add(name)
    person.link(loader, "MODEL", record, "model")
    person.link(loader, "CLIP", record, "clip")
    person.link(record, "MODEL", sampler, "model")
    person.link(sampler, "LATENT", collect, "latent")
    person.link(collect, "heatmaps", mask, "heatmaps")
    person.link(mask, "MASK", shown, "mask")
    person.write(record, "words", WORDS)
    person.write(record, "background", "sky, water")
    person.run()
    clicks, texts = person.clicks - before[0], person.texts - before[1]
    print(f"  of these, from core's graph to the mask: {clicks} clicks, {texts} texts")


ROUTES: dict[str, Callable[[Person], None]] = {"template": by_template, "blueprint": by_blueprint, "by hand": by_hand}


def main() -> int:
    with (
        tempfile.TemporaryDirectory() as folder,
        running(find_host().root, Path(folder) / "server", find_front_end()) as client,
        chromium(find_chromium()) as browser,
    ):
        for name, route in ROUTES.items():
            page = browser.new_page(viewport={"width": VIEW[0], "height": VIEW[1]})
            editor = Editor(page, client, Path(folder))
            editor.open()
            editor.render("canvas")
            page.evaluate(
                "(scale) => { const { app } = window; app.graph.clear(); app.canvas.ds.scale = scale; "
                "app.canvas.ds.offset = [200, 300]; }",
                SCALE,
            )
            person, began = Person(editor), time.monotonic()
            route(person)
            seconds = time.monotonic() - began
            print(f"{name}: {person.clicks} clicks, {person.texts} texts, {seconds:.1f} s", flush=True)
            page.close()
    return 0


if __name__ == "__main__":
    sys.exit(main())
