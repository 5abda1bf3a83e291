"""Make thumbnails of the example workflows that need no download, of all or of those named:

    python -m tests.support.server.thumbnails [NAME ...]

Run it whenever the weights of the landscape model or one of these workflows change. ComfyUI's template browser shows
`<workflow>.jpg` for `<workflow>.json`. The thumbnails of the Flux workflows show their graphs; the viewer's is made by
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

# Contents of a thumbnail: rows of nodes by title; a number selects one image of the node's batch.
ROWS: dict[str, tuple[tuple[str | tuple[str, int], ...], ...]] = {
    "01 Quick start - no download": (
        ("Which concept is where",),
        ("Mask of the picked concepts",),
    ),
    "02 Find concepts as an app - no download": (("A heatmap for each concept",),),
    "09 Edit where a concept is - no download": (("Before", "The mask", "After"),),
    "19 Fix a concept - no download": (("Before", "The mask", "After"),),
    "06 Inpaint with a concept - no download": (
        ("The image", "The mask", "The second image"),
        ("A heatmap for each concept",),
    ),
    "04 Masks of a picture - no download": (
        ("The image", "Which concept is where"),
        ("The house", "House and tree", "The tree, soft"),
    ),
    "07 Replace a concept - no download": (
        ("Before",),
        ("Four masks",),
        ("After",),
        ("After: which concept is where",),
    ),
    "10 Layers, steps, seeds - no download": (
        ("Four seeds",),
        (("Every layer, every step", 0),),
        ("The last layer",),
    ),
    "16 Training set with masks - no download": (
        ("The pictures",),
        ("The data set",),
    ),
    "11 Custom sampling, saved and opened - no download": (
        ("The image",),
        ("A heatmap for each concept",),
    ),
    "14 Check and re-roll - no download": (
        ("The best seed",),
        ("Presence of each concept",),
    ),
    "15 Boxes, crops and SAM3 - no download": (
        ("The image",),
        ("A mask for each thing",),
        ("The crops",),
    ),
    "13 Prompt where it is - no download": (
        ("Without the second prompt", "Blended"),
        ("The rest is kept", "The mask"),
    ),
    "20 Concepts in a video - no download": (
        tuple(("Which concept is where", frame) for frame in (2, 5, 8)),
        tuple(("A mask for each frame", frame) for frame in (2, 5, 8)),
    ),
}


def main(names: Sequence[str]) -> int:
    with tempfile.TemporaryDirectory() as base, running(find_host().root, Path(base) / "server") as client:
        for name in ROWS:
            if names and not any(part in name for part in names):
                continue
            target = FOLDER / f"{name}.jpg"
            draw(client, name).save(target, quality=88, optimize=True)
            print(target)
    return 0


def draw(client: Client, name: str) -> Image.Image:
    """Run a workflow and arrange the images of its nodes."""
    workflow = load_workflow(workflows()[name])
    run = client.run(to_graph(workflow, client.object_info()))
    rows = []
    for titles in ROWS[name]:
        images: list[np.ndarray] = []
        for entry in titles:
            title, *only = (entry,) if isinstance(entry, str) else entry
            found = client.images(run, titled(workflow, title))
            images += found if not only else [found[only[0]]]
        rows.append(join_row(images))
    return join_column(rows)


def join_row(arrays: Sequence[np.ndarray]) -> Image.Image:
    """Images side by side, scaled to fill the width."""
    images = [Image.fromarray(array) for array in arrays]
    room = WIDTH - GAP * (len(images) + 1)
    height = room / sum(image.width / image.height for image in images)
    joined = Image.new("RGB", (WIDTH, round(height)), PAPER)
    left = float(GAP)
    for image in images:
        width = image.width / image.height * height
        start, end = round(left), round(left + width)
        joined.paste(image.resize((end - start, joined.height), Image.Resampling.LANCZOS), (start, 0))
        left += width + GAP
    return joined


def join_column(rows: Sequence[Image.Image]) -> Image.Image:
    joined = Image.new("RGB", (WIDTH, sum(part.height + GAP for part in rows) + GAP), PAPER)
    top = GAP
    for part in rows:
        joined.paste(part, (0, top))
        top += part.height + GAP
    return joined


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
