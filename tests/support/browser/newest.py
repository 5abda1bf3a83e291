"""Run the browser tests with the newest front end: `python -m tests.support.browser.newest [PYTEST OPTIONS]`.

ComfyUI asks for an older one; people may install any. What fails here is worth knowing, and holds up nothing.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile

from ..server.front_end import PACKAGE, VARIABLE, find_front_end, version_of
from ..server.process import PROJECT


def main() -> int:
    with tempfile.TemporaryDirectory() as folder:
        pip = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--target", folder]
        subprocess.run([*pip, PACKAGE.replace("_", "-")], check=True)
        os.environ[VARIABLE] = folder
        front_end = find_front_end()
        assert front_end
        print(f"With front end {version_of(front_end)}:", flush=True)
        return subprocess.call([sys.executable, "-m", "pytest", "tests/browser", *sys.argv[1:]], cwd=PROJECT)


if __name__ == "__main__":
    sys.exit(main())
