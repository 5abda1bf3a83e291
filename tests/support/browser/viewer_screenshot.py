"""`python -m tests.support.browser.viewer_screenshot` makes the screenshot of the viewer again.

README and the help page show it, and in ComfyUI's template browser, smaller, it stands for the viewer's workflow.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

from PIL import Image

from ..comfyui.boot import find_host
from ..server.client import running
from ..server.examples import FOLDER, NEED_NO_DOWNLOAD, workflows
from ..server.front_end import find_front_end
from ..server.process import PROJECT
from ..server.thumbnails import WIDTH
from ..server.workflow import load_workflow
from .chromium import chromium, find_chromium
from .editor import Editor
from .viewer_page import ViewerPage

TARGET = PROJECT / "web" / "docs" / "ConceptHeatmapViewer" / "viewer.jpg"
WORKFLOW = f"12 Look inside{NEED_NO_DOWNLOAD}"
CLASS = "ConceptHeatmapViewer"
PIXEL_RATIO = 1.5  # pixels of the screenshot per CSS pixel
CURSOR = (0.5, 0.75)  # in the image, across and down


def main() -> int:
    workflow = load_workflow(workflows()[WORKFLOW])
    number = next(str(node["id"]) for node in workflow["nodes"] if node["type"] == CLASS)
    with (
        tempfile.TemporaryDirectory() as folder,
        running(find_host().root, Path(folder) / "server", find_front_end()) as client,
        chromium(find_chromium()) as browser,
    ):
        page = browser.new_page(viewport={"width": 1400, "height": 1300}, device_scale_factor=PIXEL_RATIO)
        editor = Editor(page, client, Path(folder))
        editor.open()
        editor.render("nodes2")
        editor.load(workflow)
        editor.run()
        viewer = ViewerPage(editor, number, (256, 256))
        viewer.hover(*CURSOR)
        page.wait_for_timeout(1000)  # until everything is drawn in full
        viewer.element.screenshot(path=TARGET, quality=82, type="jpeg")
    thumbnail = FOLDER / f"{WORKFLOW}.jpg"
    with Image.open(TARGET) as screenshot:
        height = round(screenshot.height * WIDTH / screenshot.width)
        small = screenshot.resize((WIDTH, height), Image.Resampling.LANCZOS)
    small.save(thumbnail, quality=88, optimize=True)
    print(TARGET, thumbnail, sep="\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
