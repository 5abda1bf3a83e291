"""The viewer as a person uses it, and what it ought to show by the library's own account."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from torch import Tensor

from concept_attention.heatmaps.heatmaps import make_heatmaps
from concept_attention.recording.recording import Recording

from ..server.client import Client, Run
from ..server.graph import Node
from ..server.landscape import Landscape
from .editor import Editor

if TYPE_CHECKING:
    from playwright.sync_api import Locator

WIDTH, HEIGHT = 168, 120  # pixels of the pictures: 10.5 x 7.5 tokens, of which the grid has 11 x 8
ROUNDED = 0.0006  # three decimals, and 16 bits
LOOK = {view: f".ca-views button[data-view={view}]" for view in ("overlay", "sides", "segmentation", "mask")}
POINTED = re.compile(r"(\d+), (\d+)")  # what the viewer says while a pixel is pointed at
STILL = """async (element) => { // once it has stayed where it is for ten frames
  for (let still = 0, before = ""; still < 10; ) {
    await new Promise((drawn) => requestAnimationFrame(drawn));
    const place = JSON.stringify(element.getBoundingClientRect());
    still = place === before ? still + 1 : 0;
    before = place;
  }
}"""


@dataclass
class Scene:
    """A graph with a viewer, in which what was sampled is saved."""

    batch: int = 1
    seed: int = 1
    steps: int = 4

    def __post_init__(self) -> None:
        self.start = start = Landscape(width=WIDTH, height=HEIGHT, batch=self.batch)
        self.graph = start.graph
        self.sampler = start.sample(start.patch()[0], seed=self.seed, steps=self.steps)
        self.recording = start.graph.add("ConceptAttentionCollect", latent=self.sampler[0])
        self.saved = start.save_recording(self.recording[0])
        self.picture = start.decode(self.sampler[0])
        self.viewer = self.look()

    def show_masks(self, layers: str, steps: str, **cutting: Any) -> tuple[Node, Node]:
        """Add a preview of the viewer's mask, and one of the mask that the plain nodes make with these settings."""
        heatmaps = self.graph.add("ConceptHeatmaps", recording=self.recording[0], layers=layers, steps=steps)
        mask = self.graph.add("ConceptHeatmapToMask", heatmaps=heatmaps[0], **cutting)
        ours, plain = (self.graph.add("MaskPreview", mask=source) for source in (self.viewer[2], mask[0]))
        return ours, plain

    def look(self, **choice: Any) -> Node:
        """Add a viewer."""
        return self.graph.add("ConceptHeatmapViewer", image=self.picture[0], recording=self.recording[0], **choice)


class Looking:
    """A viewer in the page, of pictures of this width and height."""

    def __init__(self, editor: Editor, node: Node | str, size: tuple[int, int] = (WIDTH, HEIGHT)) -> None:
        self.editor, self.node, self.size = editor, node, size
        self.element = editor.widget(node, ".ca-viewer")
        editor.look_at(node)

    def find(self, selector: str) -> Locator:
        return self.element.locator(selector)

    @property
    def picture(self) -> Locator:
        return self.find("canvas.ca-picture")

    def slider(self, which: str, end: int) -> Locator:
        """One end of the range of steps or layers: 0 or -1."""
        return self.find(f".ca-{which} input[type=range]").nth(end)

    def bar(self, concept: str) -> Locator:
        return self.find(f'.ca-bar[data-concept="{concept}"]')

    def values(self) -> dict[str, float]:
        """What the bars say, by concept."""
        self.editor.rest()
        read = """(viewer) => [...viewer.querySelectorAll(".ca-bar")].map(
          (bar) => [bar.dataset.concept, bar.querySelector(".ca-value").textContent])"""
        return {name: float(text) for name, text in self.element.evaluate(read)}

    def winner(self) -> str | None:
        """The concept whose bar is marked as the winner's."""
        names = self.find(".ca-bar.ca-winner").evaluate_all("(bars) => bars.map((bar) => bar.dataset.concept)")
        return names[0] if names else None

    def ready(self) -> None:
        """Wait until there is something to point at, and it has come to rest: nodes grow with what is in them."""
        self.find(".ca-message").wait_for(state="hidden")
        self.picture.evaluate(STILL)

    def hover(self, x: float, y: float) -> None:
        """Move the mouse over this place of the overlay, in parts of the picture (0-1)."""
        self.ready()
        box = self.picture.bounding_box()
        assert box
        width, height = self.size
        scale = min(box["width"] / width, box["height"] / height)
        left, top = (box["width"] - scale * width) / 2, (box["height"] - scale * height) / 2
        self.picture.hover(position={"x": left + x * width * scale, "y": top + y * height * scale})
        self.find(".ca-where").filter(has_text=POINTED).wait_for()
        self.editor.rest()

    def pixel(self) -> tuple[int, int]:
        """The picture's pixel (x, y) that the bars belong to, as the viewer says."""
        self.find(".ca-where").filter(has_text=POINTED).wait_for()
        self.editor.rest()
        said = self.find(".ca-where").text_content() or ""
        found = POINTED.search(said)
        assert found, said
        return int(found[1]), int(found[2])


def shares(recording: Recording, **reading: Any) -> Tensor:
    """Every concept's share at every pixel, (B, C, H, W)."""
    return make_heatmaps(recording, **reading).resized().values


def assert_shows(looking: Looking, recording: Recording, picture: int = 0, **reading: Any) -> None:
    """The bars have the recording's own numbers for the pixel that is pointed at."""
    x, y = looking.pixel()
    expected = shares(recording, **reading)[picture, :, y, x]
    values = looking.values()
    assert list(values) == [concept.name for concept in recording.concepts]
    for name, share in zip(values, expected.tolist(), strict=True):
        assert abs(values[name] - share) < ROUNDED, (name, (x, y), values, expected)
    assert looking.winner() == recording.concepts[int(expected.argmax())].name


def run(editor: Editor, comfyui: Client, scene: Scene) -> tuple[Looking, Recording, Run]:
    """Load the scene, press Run, and look into its viewer."""
    editor.load(scene.graph)
    finished = editor.run()
    looking = Looking(editor, scene.viewer)
    looking.find(".ca-bar").first.wait_for()
    return looking, comfyui.recording(finished, scene.saved), finished
