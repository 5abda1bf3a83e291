"""Make the pictures of the example workflows that need no download: `python -m tests.support.server.thumbnails`.

To be done whenever the landscape model's weights, or one of these workflows, change. ComfyUI's template browser shows
`<workflow>.jpg` beside `<workflow>.json`. Those of the Flux workflows show their graphs, and the viewer's is made by
`tests.support.browser.viewer_screenshot`.
"""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from ..comfyui.boot import find_host
from .client import Client, running
from .examples import FOLDER, workflows
from .workflow import load_workflow, titled, to_graph

WIDTH, GAP = 560, 6  # pixels
PAPER = (250, 250, 250)

# What a picture shows: rows of nodes, by title; with a number, only that picture of the node's batch.
ROWS: dict[str, tuple[tuple[str | tuple[str, int], ...], ...]] = {
    "1 Quick start - no download": (
        ("The image", "The mask", "The second image"),
        ("A heatmap for each concept",),
    ),
    "3a Masks of a picture - no download": (
        ("The image", "Which concept is where"),
        ("The house", "House and tree", "The tree, soft"),
    ),
    "4a Replace a concept - no download": (
        ("Before",),
        ("Four masks",),
        ("After",),
        ("After: which concept is where",),
    ),
    "5 Layers, steps, seeds - no download": (
        ("Four seeds",),
        (("Every layer, every step", 0),),
        ("The last layer",),
    ),
    "6 Custom sampling, saved and opened - no download": (
        ("The image",),
        ("A heatmap for each concept",),
    ),
}


def main() -> int:
    with tempfile.TemporaryDirectory() as base, running(find_host().root, Path(base) / "server") as client:
        for name in ROWS:
            target = FOLDER / f"{name}.jpg"
            draw(client, name).save(target, quality=88, optimize=True)
            print(target)
    return 0


def draw(client: Client, name: str) -> Image.Image:
    """Run a workflow and show what its nodes show."""
    workflow = load_workflow(workflows()[name])
    run = client.run(to_graph(workflow, client.object_info()))
    rows = []
    for titles in ROWS[name]:
        pictures: list[np.ndarray] = []
        for cell in titles:
            title, *only = (cell,) if isinstance(cell, str) else cell
            found = client.images(run, titled(workflow, title))
            pictures += found if not only else [found[only[0]]]
        rows.append(row(pictures))
    return stack(rows)


def row(pictures: Sequence[np.ndarray]) -> Image.Image:
    """Pictures side by side, as high as fills the width."""
    images = [Image.fromarray(picture) for picture in pictures]
    room = WIDTH - GAP * (len(images) + 1)
    height = room / sum(image.width / image.height for image in images)
    joined = Image.new("RGB", (WIDTH, round(height)), PAPER)
    left = float(GAP)
    for image in images:
        width = image.width / image.height * height
        place = round(left), round(left + width)
        joined.paste(image.resize((place[1] - place[0], joined.height), Image.Resampling.LANCZOS), (place[0], 0))
        left += width + GAP
    return joined


def stack(rows: Sequence[Image.Image]) -> Image.Image:
    joined = Image.new("RGB", (WIDTH, sum(part.height + GAP for part in rows) + GAP), PAPER)
    top = GAP
    for part in rows:
        joined.paste(part, (0, top))
        top += part.height + GAP
    return joined


if __name__ == "__main__":
    sys.exit(main())
