"""The viewer in a page as a user operates it, and what it should show according to the library."""

from __future__ import annotations

import base64
import io
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image
from torch import Tensor

from concept_attention.heatmaps.heatmaps import make_heatmaps
from concept_attention.recording.recording import Recording

from ..server.client import Client, Run
from ..server.graph import Node
from ..server.landscape import Landscape
from .editor import Editor

if TYPE_CHECKING:
    from playwright.sync_api import Locator

WIDTH, HEIGHT = 168, 120  # pixels of the images: 10.5 x 7.5 tokens; the grid has 11 x 8
TOLERANCE = 0.0006  # of values with three decimals, stored in 16 bits
VIEW_BUTTONS = {view: f".ca-views button[data-view={view}]" for view in ("overlay", "sides", "segmentation", "mask")}
CURSOR = re.compile(r"(\d+), (\d+)")  # in the viewer's text while the cursor is at a pixel
WAIT_UNTIL_STILL = """async (element) => { // unchanged for ten animation frames
  for (let still = 0, before = ""; still < 10; ) {
    await new Promise((drawn) => requestAnimationFrame(drawn));
    const box = JSON.stringify(element.getBoundingClientRect());
    still = box === before ? still + 1 : 0;
    before = box;
  }
}"""


@dataclass
class ViewerWorkflow:
    """A graph that samples, saves the recording and shows it in a viewer."""

    batch: int = 1
    seed: int = 1
    steps: int = 4

    def __post_init__(self) -> None:
        self.start = start = Landscape(width=WIDTH, height=HEIGHT, batch=self.batch)
        self.graph = start.graph
        self.sampler = start.sample(start.patch()[0], seed=self.seed, steps=self.steps)
        self.recording = start.graph.add("ConceptAttentionCollect", latent=self.sampler[0])
        self.saved = start.save_recording(self.recording[0])
        self.image = start.decode(self.sampler[0])
        self.viewer = self.add_viewer()

    def preview_masks(self, layers: str, steps: str, **options: Any) -> tuple[Node, Node]:
        """Add previews of the viewer's mask and of the mask that the other nodes make with these settings."""
        heatmaps = self.graph.add("ConceptHeatmaps", recording=self.recording[0], layers=layers, steps=steps)
        mask = self.graph.add("ConceptHeatmapToMask", heatmaps=heatmaps[0], **options)
        ours, others = (self.graph.add("MaskPreview", mask=source) for source in (self.viewer[2], mask[0]))
        return ours, others

    def add_viewer(self, **choice: Any) -> Node:
        """Add a viewer."""
        return self.graph.add("ConceptHeatmapViewer", image=self.image[0], recording=self.recording[0], **choice)


class ViewerPage:
    """A viewer in the page.

    Attributes:
        size: width and height of its images, pixels.
    """

    def __init__(self, editor: Editor, node: Node | str, size: tuple[int, int] = (WIDTH, HEIGHT)) -> None:
        self.editor, self.node, self.size = editor, node, size
        self.element = editor.widget(node, ".ca-viewer")
        editor.show_node(node)

    def find(self, selector: str) -> Locator:
        return self.element.locator(selector)

    @property
    def image(self) -> Locator:
        return self.find("canvas.ca-image")

    def slider(self, which: str, end: int) -> Locator:
        """One end of the range of steps or layers: 0 or -1."""
        return self.find(f".ca-{which} input[type=range]").nth(end)

    def bar(self, concept: str) -> Locator:
        return self.find(f'.ca-bar[data-concept="{concept}"]')

    def values(self) -> dict[str, float]:
        """Values on the bars, by concept."""
        self.editor.wait_for_drawing()
        read = """(viewer) => [...viewer.querySelectorAll(".ca-bar")].map(
          (bar) => [bar.dataset.concept, bar.querySelector(".ca-value").textContent])"""
        return {name: float(text) for name, text in self.element.evaluate(read)}

    def drawn_image(self) -> np.ndarray:
        """The canvas' pixel at the centre of each pixel of the image, (H, W, 3), 0-255; for views of one image."""
        data = str(self.image.evaluate("(canvas) => canvas.toDataURL()")).split(",")[1]
        with Image.open(io.BytesIO(base64.b64decode(data))) as drawn:
            pixels = np.asarray(drawn.convert("RGB"))
        width, height = self.size
        scale = min(pixels.shape[0] / height, pixels.shape[1] / width)
        centres = []
        for side, count in ((pixels.shape[0], height), (pixels.shape[1], width)):
            length = round(count * scale)
            centres.append((side - length) // 2 + ((np.arange(count) + 0.5) * length / count).astype(int))
        return pixels[np.ix_(*centres)]

    def winner(self) -> str | None:
        """The concept whose bar is marked as the highest."""
        names = self.find(".ca-bar.ca-winner").evaluate_all("(bars) => bars.map((bar) => bar.dataset.concept)")
        return names[0] if names else None

    def wait_until_ready(self) -> None:
        """Wait until the image is shown and does not move any more: nodes grow with their content."""
        self.find(".ca-message").wait_for(state="hidden")
        self.image.evaluate(WAIT_UNTIL_STILL)

    def hover(self, x: float, y: float) -> None:
        """Move the mouse to this place of the image (0-1) in the overlay."""
        self.wait_until_ready()
        box = self.image.bounding_box()
        assert box
        width, height = self.size
        scale = min(box["width"] / width, box["height"] / height)
        left, top = (box["width"] - scale * width) / 2, (box["height"] - scale * height) / 2
        self.image.hover(position={"x": left + x * width * scale, "y": top + y * height * scale})
        self.find(".ca-where").filter(has_text=CURSOR).wait_for()
        self.editor.wait_for_drawing()

    def pixel(self) -> tuple[int, int]:
        """The image's pixel (x, y) at the cursor, from the viewer's text."""
        self.find(".ca-where").filter(has_text=CURSOR).wait_for()
        self.editor.wait_for_drawing()
        text = self.find(".ca-where").text_content() or ""
        found = CURSOR.search(text)
        assert found, text
        return int(found[1]), int(found[2])


def shares(recording: Recording, **reading: Any) -> Tensor:
    """Every concept's share at every pixel, (B, C, H, W)."""
    return make_heatmaps(recording, **reading).resized().values


def assert_shows(viewer: ViewerPage, recording: Recording, image: int = 0, **reading: Any) -> None:
    """The bars show the recording's shares at the cursor."""
    x, y = viewer.pixel()
    expected = shares(recording, **reading)[image, :, y, x]
    values = viewer.values()
    assert list(values) == [concept.name for concept in recording.concepts]
    for name, share in zip(values, expected.tolist(), strict=True):
        assert abs(values[name] - share) < TOLERANCE, (name, (x, y), values, expected)
    assert viewer.winner() == recording.concepts[int(expected.argmax())].name


def open_viewer(editor: Editor, comfyui: Client, workflow: ViewerWorkflow) -> tuple[ViewerPage, Recording, Run]:
    """Load a workflow and run it; its viewer, its recording and the run."""
    editor.load(workflow.graph)
    finished = editor.run()
    viewer = ViewerPage(editor, workflow.viewer)
    viewer.find(".ca-bar").first.wait_for()
    return viewer, comfyui.recording(finished, workflow.saved), finished
