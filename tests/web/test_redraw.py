"""How fast the viewer redraws while one scrubs, in a real browser: 28 steps x 19 layers x 5 concepts at 64 x 64.

    python -m tests.web.test_redraw

prints the times. The test wants one frame of a usual screen, 16 ms.
"""

from __future__ import annotations

import json
import os
import queue
import shutil
import subprocess
import tempfile
import threading
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[2]
BROWSERS = ("chromium", "chromium-browser", "google-chrome")
FLAGS = (
    "--headless --no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking "
    "--disable-component-update --disable-sync --mute-audio"
)
FRAME = 16.0  # milliseconds
TRIES = 3  # another program may take the processor for a while


def find_browser() -> str | None:
    chosen = os.environ.get("CONCEPT_ATTENTION_CHROMIUM")
    return chosen or next((found for name in BROWSERS if (found := shutil.which(name))), None)


def measure(browser: str) -> dict[str, Any]:
    """Milliseconds of a redraw in every view, median and worst."""
    results: queue.Queue[dict[str, Any]] = queue.Queue()

    class Handler(SimpleHTTPRequestHandler):
        def __init__(self, *args: Any) -> None:
            super().__init__(*args, directory=str(ROOT))

        def do_POST(self) -> None:
            results.put(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
            self.send_response(204)
            self.end_headers()

        def log_message(self, *args: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    address = f"http://127.0.0.1:{server.server_port}/tests/web/redraw.html"
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as profile:
        command = [browser, *FLAGS.split(), f"--user-data-dir={profile}", "--window-size=900,1000"]
        # not --dump-dom: it would end before the page has measured
        command += ["--remote-debugging-port=0", address]
        running = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        try:
            return results.get(timeout=60)
        finally:
            running.terminate()
            running.wait(timeout=20)
            server.shutdown()


@pytest.mark.skipif(find_browser() is None, reason="needs Chromium; CONCEPT_ATTENTION_CHROMIUM may say where it is")
def test_scrubbing_redraws_within_one_frame() -> None:
    browser = find_browser()
    assert browser
    best: dict[str, float] = {}
    for _ in range(TRIES):
        for view, times in measure(browser).items():
            if view != "size":
                best[view] = min(best.get(view, float("inf")), times["median"])
        if max(best.values()) <= FRAME:
            return
    assert max(best.values()) <= FRAME, best


if __name__ == "__main__":
    found = find_browser()
    if found is None:
        raise SystemExit("There is no Chromium. Install one, or let CONCEPT_ATTENTION_CHROMIUM say where it is.")
    print(json.dumps(measure(found), indent=2))
