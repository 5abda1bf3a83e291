"""Finding ComfyUI and importing its library into the test process, on the CPU: with dev.py and dev_comfyui.py."""

from __future__ import annotations

import functools
import importlib.util
import os
import re
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType

VARIABLE = "COMFYUI_PATH"
PROJECT = Path(__file__).resolve().parents[3]
NEEDS_HOST = "needs ComfyUI"  # every reason to skip begins with this; the summary of a run looks for it


class HostMissing(Exception):
    """There is no ComfyUI to test with; the text says why and how to get it."""


@dataclass(frozen=True)
class Host:
    """A ComfyUI folder and the version it says it is, such as 0.33.0."""

    root: Path
    version: str

    @property
    def release(self) -> tuple[int, ...]:
        """For comparisons: (0, 33, 0)."""
        return tuple(int(part) for part in re.findall(r"\d+", self.version)[:3])


def find_host() -> Host:
    """The ComfyUI to test with; nothing is imported.

    dev.py knows where to look, as it installs what that ComfyUI needs before the tests begin.

    Raises:
        HostMissing: if there is none.
        ValueError: if COMFYUI_PATH is set and is no ComfyUI: who names one wants it tested.
    """
    dev = load_script("dev")
    try:
        found = dev.find_comfyui(PROJECT)
    except dev.SetupError as error:
        raise ValueError(str(error)) from error
    if found is None:
        raise HostMissing(f"{NEEDS_HOST}: none was found. Set {VARIABLE} to its folder or put it into ~/comfy/ComfyUI.")
    return _describe(found)


@functools.cache
def boot() -> Host:
    """Import ComfyUI's library as `python main.py --cpu` would, once per process.

    Raises:
        HostMissing: if there is no ComfyUI, or it was only guessed and its requirements are not installed.
        ValueError: if COMFYUI_PATH is wrong.
        ImportError: if the ComfyUI that COMFYUI_PATH names cannot be imported.
    """
    host = find_host()
    try:
        load_script("dev_comfyui").import_library(host.root, ["--cpu"])
    except ModuleNotFoundError as error:
        if os.environ.get(VARIABLE):
            raise
        raise HostMissing(
            f"{NEEDS_HOST}: {host.root} cannot be imported, as the package {error.name!r} is not installed. "
            f"Run `python dev.py test`, or `pip install -r {host.root / 'requirements.txt'}`."
        ) from error
    return host


@functools.cache
def load_script(name: str) -> ModuleType:
    """A Python file at the root of the project; those are scripts and no modules of a package."""
    file = Path(__file__).resolve().parents[3] / f"{name}.py"
    spec = importlib.util.spec_from_file_location(f"concept_attention_{name}", file)
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def _describe(folder: Path) -> Host:
    file = folder / "comfyui_version.py"
    found = re.search(r'__version__ = "([^"]+)"', file.read_text(encoding="utf-8")) if file.is_file() else None
    return Host(folder, found[1] if found else "0")
