"""How fast the viewer redraws when steps or layers change: 28 steps x 19 layers x 5 concepts at 64 x 64.

    python -m tests.browser.test_redraw

prints the times. The test requires one frame of a 60 Hz screen, 16 ms.
"""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from ..support.browser.chromium import chromium, find_chromium

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Route

ROOT = Path(__file__).resolve().parents[2]
ADDRESS = "http://127.0.0.1"  # no server: `serve` answers with the repository's files
PAGE = "/tests/browser/redraw.html"
FRAME_MS = 16.0
TRIES = 12  # other programs may take the processor for a while
PAUSE = 3  # seconds between tries


def measure(browser: Browser) -> dict[str, Any]:
    """Milliseconds of a redraw in each view, median and worst, and the canvas' size in pixels."""

    def serve(route: Route) -> None:
        route.fulfill(path=ROOT / urlsplit(route.request.url).path.lstrip("/"))

    page = browser.new_page(viewport={"width": 900, "height": 1000})
    page.route(f"{ADDRESS}/**", serve)
    page.goto(ADDRESS + PAGE)
    page.wait_for_function("window.measured")
    measured: dict[str, Any] = page.evaluate("window.measured")
    page.close()
    return measured


def test_a_change_of_steps_or_layers_redraws_within_one_frame(browser: Browser) -> None:
    best: dict[str, float] = {}
    for attempt in range(TRIES):
        time.sleep(PAUSE * bool(attempt))
        times = {view: each["median"] for view, each in measure(browser).items() if view != "size"}
        best = {view: min(taken, best.get(view, taken)) for view, taken in times.items()}
        if max(best.values()) <= FRAME_MS:
            break
    assert max(best.values()) <= FRAME_MS, best


if __name__ == "__main__":
    with chromium(find_chromium()) as browser:
        print(json.dumps(measure(browser), indent=2))
