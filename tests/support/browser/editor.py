"""ComfyUI's front end in a browser page."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..server.client import PATIENCE_S, Client, Run
from ..server.graph import Graph, Node
from ..server.workflow import inputs_of
from .page_errors import PageErrors

if TYPE_CHECKING:
    from playwright.sync_api import Locator, Page, Response

EXTENSION = "ConceptAttention.Report"  # of this pack: once it is there, all are
MARK = "data-of-node"  # put on elements of widgets, so that they are found again wherever the front end moves them
SETTINGS = {
    "Comfy.TutorialCompleted": True,  # no window over the graph at the first start
    "Comfy.Graph.CanvasInfo": False,
    "Comfy.Minimap.Visible": False,
    "Comfy.Appearance.DisableAnimations": True,
    "LiteGraph.Canvas.MaximumFps": 20,  # of the graph, not of what stands in nodes
    "Comfy.Locale": "en",
    "Comfy.ColorPalette": "dark",
}
AWAY = (3, 560)  # of the page: nothing there minds the mouse
KEPT_MS = 1500  # after a change the front end waits a second before it keeps the graph for the next start
# The spinner is there until the graph that was open is back: it would replace one that is loaded before.
READY = """(extension) => Boolean(
  window.app?.vueAppReady && window.app.canvas && window.app.extensionManager && !window.app.extensionManager.spinner
  && window.app.extensions.some((candidate) => candidate.name === extension))"""
LISTEN = """() => {
  window.ended = {};
  window.comfyAPI.api.api.addEventListener("progress", (event) => { window.step = event.detail.value; });
  for (const kind of ["execution_success", "execution_error", "execution_interrupted"])
    window.comfyAPI.api.api.addEventListener(kind, (event) => { window.ended[event.detail.prompt_id] = kind; });
}"""
CONVERT = """async (prompt) => {
  const { app } = window;
  await app.loadApiJson(prompt, "test");
  app.rootGraph.nodes.forEach((node, index) => {
    node.pos = [1000 * index, 0]; // nodes that grow cover no other
    for (const widget of node.widgets ?? []) if (widget.name === "control_after_generate") widget.value = "fixed";
  });
  const saved = app.rootGraph.serialize();
  // Without a number, which graphs made of prompts lack, the front end would not open a finished run again.
  for (const node of saved.nodes) for (const output of node.outputs ?? []) delete output.slot_index;
  return saved;
}"""
# Graphs of prompts all have the same id, by which the front end knows their widgets' values: each gets one of its own.
LOAD = """(graph) => {
  const { app } = window;
  const { activeWorkflow } = app.extensionManager.workflow;
  return app.loadGraphData({ ...graph, id: crypto.randomUUID() }, true, true, activeWorkflow);
}"""
WAIT_UNTIL_STILL = """async () => { // unchanged for twenty animation frames
  for (let still = 0, before = ""; still < 20; ) {
    await new Promise((drawn) => requestAnimationFrame(drawn));
    const boxes = JSON.stringify(window.app.canvas.graph.nodes.map((node) => [...node.getBounding()]));
    still = boxes === before ? still + 1 : 0;
    before = boxes;
  }
}"""
SHOW_ALL = """() => {
  const { ds, canvas } = window.app.canvas;
  const nodes = window.app.canvas.graph.nodes.map((node) => node.getBounding());
  const left = Math.min(...nodes.map((box) => box[0])), top = Math.min(...nodes.map((box) => box[1]));
  const width = Math.max(...nodes.map((box) => box[0] + box[2])) - left;
  const height = Math.max(...nodes.map((box) => box[1] + box[3])) - top;
  const shown = canvas.getBoundingClientRect();
  ds.scale = Math.min((shown.width - 140) / width, (shown.height - 160) / height, 1);
  ds.offset[0] = 90 / ds.scale - left;
  ds.offset[1] = 80 / ds.scale - top;
  window.app.canvas.setDirty(true, true);
}"""


def completed(graph: Graph, infos: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    """What is queued, with every value that it leaves to its default written out."""
    nodes = {}
    for number, node in graph.as_prompt().items():
        typed = [given for given in inputs_of(infos[node["class_type"]]) if given.typed_in]
        defaults = {given.name: given.options["default"] for given in typed if "default" in given.options}
        nodes[number] = {**node, "inputs": {**defaults, **node["inputs"]}}
    return nodes


def is_queued(answer: Response) -> bool:
    """Whether it is the server's answer to a graph that was queued."""
    return answer.url.endswith("/prompt") and answer.request.method == "POST"


class Editor:
    """The front end, open in a page.

    Attributes:
        page: what Playwright drives.
        client: the server's API, which tests use as well.
        errors: errors, warnings and failed requests in the page.
        renderer: what draws the nodes: "canvas" or "nodes2".
    """

    renderer = "canvas"

    def __init__(self, page: Page, client: Client, screenshots: Path) -> None:
        self.page, self.client, self.screenshots = page, client, screenshots
        self.errors = PageErrors(page.context.new_cdp_session(page))
        client.server.ask("POST", "/settings", SETTINGS)
        self._infos = client.object_info()
        self._workflows: dict[str, dict[str, Any]] = {}  # by prompt

    def open(self) -> None:
        """Open the front end, or reload it: with what it keeps itself, such as the graph that was open."""
        self.page.goto(f"http://127.0.0.1:{self.client.server.port}/", wait_until="domcontentloaded")
        self.page.wait_for_function(READY, arg=EXTENSION)
        self.page.evaluate(LISTEN)

    def reload(self) -> None:
        """Reload the page, once the front end has kept what is open."""
        self.page.wait_for_timeout(KEPT_MS)
        self.open()

    def render(self, renderer: str) -> None:
        """Switch between the classic canvas and Nodes 2.0, as the settings window does."""
        self.renderer = renderer
        self.set("Comfy.VueNodes.Enabled", renderer == "nodes2")
        self.page.wait_for_function("(vue) => window.LiteGraph.vueNodesMode === vue", arg=renderer == "nodes2")

    def set(self, setting: str, value: Any) -> None:
        """Change one of the user's settings."""
        change = "([name, value]) => window.app.extensionManager.setting.set(name, value)"
        self.page.evaluate(change, [setting, value])

    def load(self, graph: Graph | Mapping[str, Any]) -> None:
        """Put a graph, or a saved workflow, in place of the one that is open; the mouse goes out of the way."""
        self.page.mouse.move(*AWAY)
        if isinstance(graph, Graph):
            self.page.evaluate(LOAD, self._converted(graph))
        else:
            self.page.evaluate("(workflow) => window.app.loadGraphData(workflow)", dict(graph))
        self.wait_for_drawing()  # the front end may move in the next frame itself, to where it finds nodes
        self.show_all()

    def _converted(self, graph: Graph) -> dict[str, Any]:
        """The graph as it is saved, its nodes in a row."""
        prompt = completed(graph, self._infos)
        key = json.dumps(prompt)
        if key not in self._workflows:
            self._workflows[key] = self.page.evaluate(CONVERT, prompt)
        return self._workflows[key]

    def saved(self) -> dict[str, Any]:
        """The workflow that is open, as it is saved."""
        return dict(self.page.evaluate("() => window.app.rootGraph.serialize()"))

    def prompt(self) -> dict[str, Any]:
        """The graph that would be queued."""
        return dict(self.page.evaluate("async () => (await window.app.graphToPrompt()).output"))

    def queue(self) -> str:
        """Press Run; the run's number."""
        with self.page.expect_response(is_queued) as sent:
            self.press("Comfy.QueuePrompt")
        answer = json.loads(sent.value.body())
        assert sent.value.ok and not answer["node_errors"], answer
        return str(answer["prompt_id"])

    def interrupt_at(self, step: int) -> None:
        """Press the button that interrupts a run, once the page knows that its sampler has come to this step."""
        self.page.evaluate("() => { window.step = 0; }")
        self.page.wait_for_function("(step) => window.step >= step", arg=step)
        self.press("Comfy.Interrupt")

    def press(self, command: str) -> None:
        """Do what a button or a shortcut does."""
        self.page.evaluate("(command) => void window.app.extensionManager.command.execute(command)", command)

    def run(self) -> Run:
        """Press Run, and wait until the page knows that it is done.

        Raises:
            NodeError, Interrupted, ServerDied: see Client.
        """
        number = self.queue()
        run = self.client.wait(number)
        self.ended(number)
        return run

    def ended(self, number: str) -> str:
        """Wait until the page knows that a run is done; the event that said so."""
        done = self.page.wait_for_function("(number) => window.ended[number]", arg=number, timeout=PATIENCE_S * 1000)
        return str(done.json_value())

    def widget(self, node: Node | str, selector: str) -> Locator:
        """The element of a node's own that looks like this: it is the same one in both renderers.

        Args:
            node: from the graph that was loaded, or the id of one.
            selector: CSS of the widget's element itself, such as `.ca-viewer`.
        """
        number = node.number if isinstance(node, Node) else node
        find = """([number, selector, mark]) => {
          const node = window.app.canvas.graph.getNodeById(number);
          const element = node?.widgets?.map((widget) => widget.element).find((found) => found?.matches(selector));
          element?.setAttribute(mark, number);
          return Boolean(element?.isConnected);
        }"""
        self.page.wait_for_function(find, arg=[number, selector, MARK])
        return self.page.locator(f'{selector}[{MARK}="{number}"]')

    def value(self, node: Node, name: str) -> Any:
        """What a widget of a node holds."""
        read = """([number, name]) => window.app.canvas.graph.getNodeById(number).widgets
          .find((widget) => widget.name === name).value"""
        return self.page.evaluate(read, [node.number, name])

    def set_widgets(self, node: Node, **values: Any) -> None:
        """Change widgets of a node, as typing into them does."""
        write = """([number, values]) => {
          const node = window.app.canvas.graph.getNodeById(number);
          for (const [name, value] of Object.entries(values)) {
            const widget = node.widgets.find((candidate) => candidate.name === name);
            widget.value = value;
            widget.callback?.(value, window.app.canvas, node);
          }
        }"""
        self.page.evaluate(write, [node.number, values])

    def images_of(self, node: Node, count: int) -> list[tuple[int, int]]:
        """Width and height of the images that a node shows, once there are that many."""
        shown = """([number, count]) => {
          const images = window.app.canvas.graph.getNodeById(number)?.imgs ?? [];
          const done = images.length === count && images.every((image) => image.naturalWidth > 0);
          return done ? images.map((image) => [image.naturalWidth, image.naturalHeight]) : null;
        }"""
        found = self.page.wait_for_function(shown, arg=[node.number, count]).json_value()
        return [(int(width), int(height)) for width, height in found]

    def show_node(self, node: Node | str) -> None:
        """Move the graph so that a node is visible, at scale 1."""
        move = """(number) => {
          const { ds, graph } = window.app.canvas;
          const [left, top] = graph.getNodeById(number).getBounding();
          ds.scale = 1;
          ds.offset[0] = 120 - left;
          ds.offset[1] = 90 - top;
          window.app.canvas.setDirty(true, true);
        }"""
        self.page.evaluate(move, node.number if isinstance(node, Node) else node)
        self.wait_for_drawing()

    def show_all(self) -> None:
        """Move and zoom so that the whole graph is visible."""
        self.page.evaluate(SHOW_ALL)
        self.wait_for_drawing()

    def wait_for_drawing(self) -> None:
        """Wait until pending changes are drawn."""
        self.page.evaluate("() => new Promise((drawn) => requestAnimationFrame(() => requestAnimationFrame(drawn)))")

    def settle(self) -> None:
        """Wait until no node has changed its place or size for a while."""
        self.page.evaluate(WAIT_UNTIL_STILL)

    def screenshot(self, name: str) -> None:
        """Save a screenshot of the page, for people to look at."""
        self.page.wait_for_timeout(300)  # a viewer draws in full once nothing has changed for a while
        self.page.screenshot(path=self.screenshots / f"{name}.png")
