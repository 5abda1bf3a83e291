"""`python -m tests.support.browser.readme_pictures` makes README's first picture, animation and screenshot again.

All show the quick start. Run it after a change to the viewer, to overlays, or to that workflow.
"""

from __future__ import annotations

import io
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from concept_attention.drawing.legend import draw_caption
from concept_attention.drawing.lettering import make_label
from concept_attention.drawing.overlay import overlay_each
from concept_attention.heatmaps.heatmaps import make_heatmaps
from concept_attention.heatmaps.masks import make_masks
from concept_attention.images import to_pil
from concept_attention.recording.recording import Recording

from ..comfyui.boot import find_host
from ..server.client import Client, running
from ..server.examples import NEED_NO_DOWNLOAD, workflows
from ..server.front_end import find_front_end
from ..server.graph import Node
from ..server.process import PROJECT
from ..server.workflow import load_workflow, to_graph
from .chromium import chromium, find_chromium
from .editor import Editor
from .layout import VIEW
from .viewer_page import ViewerPage

QUICK_START = f"01 Quick start{NEED_NO_DOWNLOAD}"
PICTURE = PROJECT / "docs" / "images" / "first.png"
SCREENSHOT = PROJECT / "docs" / "images" / "quick-start.jpg"
ANIMATION = PROJECT / "docs" / "images" / "viewer.webp"
SHOWN = ("boat", "mountain", "sun")
TEXT, GAP = 13, 8  # pixels
GRAPH = {"x": 70, "y": 85, "width": 1480, "height": 780}  # pixels of the window with the graph alone
WIDTH = 640  # of the animation
RATE, SECONDS = 10, 6
MOST_BYTES = 2_000_000


def main() -> int:
    workflow = load_workflow(workflows()[QUICK_START])
    with (
        tempfile.TemporaryDirectory() as folder,
        running(find_host().root, Path(folder) / "server", find_front_end()) as client,
        chromium(find_chromium()) as browser,
    ):
        to_pil(first_picture(*picture_and_recording(client, workflow))).save(PICTURE, optimize=True)
        page = browser.new_page(viewport={"width": 1400, "height": 1300})
        editor = Editor(page, client, Path(folder))
        editor.open()
        editor.render("nodes2")
        editor.load(workflow)
        editor.run()
        (number,) = (str(node["id"]) for node in workflow["nodes"] if node["type"] == "ConceptHeatmapViewer")
        frames = list(filmed(ViewerPage(editor, number, (256, 256))))
        page.set_viewport_size({"width": VIEW[0], "height": VIEW[1]})
        page.evaluate("(workflow) => window.app.loadGraphData(workflow)", workflow)
        editor.run()
        editor.settle()
        page.wait_for_timeout(3000)  # until the note that the run is done has gone
        page.screenshot(path=SCREENSHOT, clip=GRAPH, type="jpeg", quality=82)
    frames[0].save(
        ANIMATION, save_all=True, append_images=frames[1:], duration=1000 // RATE, loop=0, quality=70, method=6
    )
    assert len(frames) == RATE * SECONDS and ANIMATION.stat().st_size < MOST_BYTES
    print(PICTURE, ANIMATION, SCREENSHOT, sep="\n")
    return 0


def picture_and_recording(client: Client, workflow: dict[str, Any]) -> tuple[Tensor, Recording]:
    """The image that the workflow's viewer shows, (H, W, 3), and its recording."""
    graph = to_graph(workflow, client.object_info())
    (viewer,) = (node for node in graph.as_prompt().values() if node["class_type"] == "ConceptHeatmapViewer")
    image = graph.add("PreviewImage", images=viewer["inputs"]["image"])
    saved = graph.add("ConceptRecordingSave", recording=viewer["inputs"]["recording"], filename_prefix="readme")
    run = client.run(graph)
    pixels = client.images(run, Node(image.number))[0]
    return torch.from_numpy(pixels.astype(np.float32) / 255), client.recording(run, saved)


def first_picture(image: Tensor, recording: Recording) -> Tensor:
    """The image, where each concept is in it, and what its mask cuts out of it."""
    heatmaps = make_heatmaps(recording)
    lit = overlay_each(image, heatmaps, opacity=0.85, legend=False)
    columns = [[("generated image", image), ("the same image", image)]]
    for name in SHOWN:
        mask = make_masks(heatmaps, name, "argmax")[0][..., None]
        columns.append(
            [(f"where is the {name}?", lit[heatmaps.index(name)]), (f"cut out: {name}", image * mask + 1 - mask)]
        )
    columns[0].pop()
    height, width = image.shape[:2]
    caption = round(1.8 * TEXT)
    sheet = torch.ones(2 * (height + caption) + 3 * GAP, len(columns) * (width + GAP) + GAP, 3)
    for column, tiles in enumerate(columns):
        for row, (text, tile) in enumerate(tiles):
            label = draw_caption(make_label(text), width, TEXT)
            tile = torch.cat([label, tile])
            left = GAP + column * (width + GAP)
            # the image alone stands in the middle of its column
            top = GAP + row * (height + caption + GAP)
            if len(tiles) == 1:
                top = (sheet.shape[0] - tile.shape[0]) // 2
            sheet[top : top + tile.shape[0], left : left + width] = tile
    return sheet


def filmed(viewer: ViewerPage) -> Iterator[Image.Image]:
    """The frames of the animation: reading values, picking concepts, going through the steps, the views."""
    viewer.wait_until_ready()
    points = [(0.15, 0.5), (0.75, 0.85), (0.55, 0.35)]
    for start, end in zip(points, points[1:], strict=False):
        for part in range(8):
            viewer.hover(*(a + (b - a) * part / 7 for a, b in zip(start, end, strict=True)))
            yield taken(viewer)
    yield from acted(viewer, lambda: viewer.bar("sun").click(), 5)
    yield from acted(viewer, lambda: viewer.bar("mountain").click(), 5)
    slider = viewer.slider("steps", -1)
    last = int(slider.get_attribute("max") or 0)
    for part in range(14):
        slider.evaluate(MOVE, round(last * part / 13))
        yield taken(viewer)
    for view in ("segmentation", "mask", "sides"):
        button = viewer.find(f".ca-views button[data-view={view}]")
        yield from acted(viewer, button.click, 6)
    yield from acted(viewer, viewer.find(".ca-views button[data-view=overlay]").click, 2)


MOVE = """(slider, value) => {
  slider.value = value;
  slider.dispatchEvent(new Event("input", { bubbles: true }));
}"""


def acted(viewer: ViewerPage, act: Callable[[], None], frames: int) -> Iterator[Image.Image]:
    """What is seen for a while after an action."""
    act()
    viewer.editor.wait_for_drawing()
    frame = taken(viewer)
    yield from [frame] * frames


def taken(viewer: ViewerPage) -> Image.Image:
    viewer.editor.wait_for_drawing()
    with Image.open(io.BytesIO(viewer.element.screenshot(type="png"))) as shot:
        size = (WIDTH, round(shot.height * WIDTH / shot.width))
        return shot.convert("RGB").resize(size, Image.Resampling.LANCZOS)


if __name__ == "__main__":
    sys.exit(main())
