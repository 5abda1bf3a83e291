"""`python -m tests.support.browser.graph_thumbnails NAME...` makes thumbnails that show a workflow's graph.

Those of workflows that need downloads. What is shown begins at the upper left of the group with this title.
"""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from PIL import Image

from ..comfyui.boot import find_host
from ..server.client import running
from ..server.examples import FOLDER, workflows
from ..server.front_end import find_front_end
from ..server.thumbnails import WIDTH
from ..server.workflow import load_workflow
from .chromium import chromium, find_chromium
from .editor import Editor

GROUP = "3 · Sample and record the concepts"
SIZE = (880, 968)  # CSS pixels of the screenshot
BESIDE = 60  # of them, left of it: the front end's bar
SHOW = """([x, y, left]) => {
  const { ds } = window.app.canvas;
  ds.scale = 0.88;
  ds.offset[0] = left / ds.scale - x;
  ds.offset[1] = 50 / ds.scale - y;
  window.app.canvas.setDirty(true, true);
}"""


def main(names: Sequence[str]) -> int:
    with (
        tempfile.TemporaryDirectory() as folder,
        running(find_host().root, Path(folder) / "server", find_front_end()) as client,
        chromium(find_chromium()) as browser,
    ):
        page = browser.new_page(viewport={"width": 1400, "height": 1100})
        editor = Editor(page, client, Path(folder))
        editor.open()
        for name in names:
            workflow = load_workflow(workflows()[name])
            editor.load(workflow)
            (box,) = (group["bounding"] for group in workflow["groups"] if group["title"] == GROUP)
            page.evaluate(SHOW, [box[0], box[1], BESIDE])
            editor.wait_for_drawing()
            file = Path(folder) / "shot.png"
            page.screenshot(path=file, clip={"x": BESIDE, "y": 50, "width": SIZE[0], "height": SIZE[1]})
            with Image.open(file) as shot:
                small = shot.convert("RGB").resize((WIDTH, round(SIZE[1] * WIDTH / SIZE[0])), Image.Resampling.LANCZOS)
            target = FOLDER / f"{name}.jpg"
            small.save(target, quality=85, optimize=True)
            print(target)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
