"""ComfyUI's front end for the browser tests: a Python package with the files that the server serves."""

from __future__ import annotations

import importlib.util
import os
import re
from pathlib import Path

PACKAGE = "comfyui_frontend_package"
VARIABLE = "COMFYUI_FRONT_END"  # names a folder that `pip install --target FOLDER` made, with another one


def find_front_end() -> Path | None:
    """The folder that the server serves; None if the package is not installed.

    Raises:
        ValueError: if COMFYUI_FRONT_END is set and holds none.
    """
    named = os.environ.get(VARIABLE)
    if named:
        static = Path(named) / PACKAGE / "static"
        if not (static / "index.html").is_file():
            raise ValueError(f"{VARIABLE} is {named}, which holds no {PACKAGE}/static/index.html. Correct it.")
        return static.resolve()
    spec = importlib.util.find_spec(PACKAGE)
    return Path(spec.origin).parent / "static" if spec and spec.origin else None


def version_of(front_end: Path) -> str:
    """The version of a front end, such as 1.49.6, from the folder that pip wrote beside it."""
    folders = front_end.parents[1].glob(f"{PACKAGE}-*.dist-info")
    return next((found[1] for folder in folders if (found := re.search(r"-([\d.]+)\.dist-info$", folder.name))), "")
