"""Finding ComfyUI and importing its library into the test process, on the CPU.

ComfyUI is an application, not a package: it is found by its folder, and its modules (`comfy`, `nodes`, `execution`,
`utils`, ...) are top-level ones. Its folder goes first on `sys.path`, so that `import nodes` is ComfyUI's and never
this project's folder of the same name.
"""

from __future__ import annotations

import functools
import importlib
import importlib.machinery
import importlib.util
import os
import re
import sys
import types
from dataclasses import dataclass
from pathlib import Path
from typing import Any

VARIABLE = "COMFYUI_PATH"
USUAL_PLACE = Path("comfy/ComfyUI")  # below the home folder, where comfy-cli puts it
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

    Looked for in this order: the folder that COMFYUI_PATH names, the ComfyUI around this checkout (when it lies in
    custom_nodes), ~/comfy/ComfyUI.

    Raises:
        HostMissing: if there is none.
        ValueError: if COMFYUI_PATH is set and is no ComfyUI: who names one wants it tested.
    """
    named = os.environ.get(VARIABLE)
    if named:
        if not _is_host(Path(named)):
            raise ValueError(f"{VARIABLE} is {named}, which holds no ComfyUI (comfy/ and main.py). Correct it.")
        return _describe(Path(named).resolve())
    for place in (*PROJECT.parents, Path.home() / USUAL_PLACE):
        if _is_host(place):
            return _describe(place)
    raise HostMissing(f"{NEEDS_HOST}: none was found. Set {VARIABLE} to its folder, or put it into ~/{USUAL_PLACE}.")


@functools.cache
def boot() -> Host:
    """Import ComfyUI's library as `python main.py --cpu` would, once per process.

    Raises:
        HostMissing: if there is no ComfyUI, or it was only guessed and its requirements are not installed.
        ValueError: if COMFYUI_PATH is wrong.
        ImportError: if the ComfyUI that COMFYUI_PATH names cannot be imported.
    """
    host = find_host()
    if sys.path[0] != str(host.root):
        sys.path.insert(0, str(host.root))
    try:
        mend_torchvision()
        _mend_torchaudio()
        _import_on_cpu()
    except ModuleNotFoundError as error:
        if os.environ.get(VARIABLE):
            raise
        raise HostMissing(
            f"{NEEDS_HOST}: {host.root} cannot be imported, as the package {error.name!r} is not installed. "
            f"Run `python dev.py test`, or `pip install -r {host.root / 'requirements.txt'}`."
        ) from error
    return host


def _is_host(folder: Path) -> bool:
    return (folder / "comfy" / "sd.py").is_file() and (folder / "main.py").is_file()


def _describe(folder: Path) -> Host:
    file = folder / "comfyui_version.py"
    found = re.search(r'__version__ = "([^"]+)"', file.read_text(encoding="utf-8")) if file.is_file() else None
    return Host(folder, found[1] if found else "0")


def _import_on_cpu() -> None:
    """ComfyUI reads the command line when `comfy.cli_args` is imported; ours is pytest's and means nothing to it."""
    arguments, sys.argv = sys.argv, [sys.argv[0], "--cpu"]
    try:
        importlib.import_module("comfy.options").enable_args_parsing()
        importlib.import_module("comfy.cli_args")
    finally:
        sys.argv = arguments
    for name in ("sd", "sample", "samplers", "supported_models", "model_patcher", "patcher_extension"):
        importlib.import_module(f"comfy.{name}")


def mend_torchvision() -> None:
    """Where torchvision was built for another torch, its import stops at operators that no model here ever uses.

    ComfyUI and diffusers both import it, so this comes before either. Nothing happens where it is not installed.
    """
    if importlib.util.find_spec("torchvision") is None:
        return
    try:
        importlib.import_module("torchvision")
    except RuntimeError as error:
        if "torchvision::" not in str(error):
            raise
        import torch

        # Kept alive by the module: a library that is collected takes its operators along.
        library = mend_torchvision.library = torch.library.Library("torchvision", "DEF")  # type: ignore[attr-defined]
        library.define("nms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
        library.define("qnms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
        for name in [name for name in sys.modules if name.split(".")[0] == "torchvision"]:
            del sys.modules[name]  # half-imported
        importlib.import_module("torchvision")


def _mend_torchaudio() -> None:
    """Sound is out of scope here: where torchaudio is missing or broken, empty modules let ComfyUI import it."""
    try:
        importlib.import_module("torchaudio")
    except (ImportError, OSError, RuntimeError):
        names = ("torchaudio", "torchaudio.transforms", "torchaudio.functional")
        modules: dict[str, Any] = {name: types.ModuleType(name) for name in names}
        for name, module in modules.items():
            module.__spec__ = importlib.machinery.ModuleSpec(name, None)
        root = modules["torchaudio"]
        root.transforms, root.functional = modules["torchaudio.transforms"], modules["torchaudio.functional"]
        root.transforms.MelScale = root.transforms.MelSpectrogram = object
        sys.modules.update(modules)
