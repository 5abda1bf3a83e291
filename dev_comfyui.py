"""Import of ComfyUI's library into another process, for tests and benchmarks; dev.py finds its folder.

ComfyUI is an application, not a package: its modules (`comfy`, `nodes`, `execution`, `utils`, ...) are top-level ones.
Its folder goes first on `sys.path`, so that `import nodes` is ComfyUI's and never this project's folder of that name.

torchvision and torchaudio are compiled against one torch version and build. ComfyUI imports them at its start, for
models that are never run here, so it is enough to make them importable if they do not fit the installed torch. The pack
needs neither.
Standard library only at import: the ComfyUI process of the tests loads this file by itself.
"""

from __future__ import annotations

import importlib
import importlib.machinery
import importlib.util
import sys
import types
from collections.abc import Sequence
from pathlib import Path
from typing import Any

ASIDE = Path(sys.prefix) / "comfyui"  # dev.py puts a torchvision there that only a ComfyUI may see


def import_library(root: Path, options: Sequence[str]) -> None:
    """Import ComfyUI's library as `python main.py OPTIONS` would.

    ComfyUI reads the command line when `comfy.cli_args` is imported, so it must not see this process's own.

    Args:
        root: ComfyUI's folder.
        options: such as `--cpu`; without effect if the library is already imported.

    Raises:
        ModuleNotFoundError: if a package that ComfyUI requires is not installed.
    """
    if sys.path[0] != str(root):
        sys.path.insert(0, str(root))
    mend()
    arguments, sys.argv = sys.argv, [sys.argv[0], *options]
    try:
        importlib.import_module("comfy.options").enable_args_parsing()
        importlib.import_module("comfy.cli_args")
    finally:
        sys.argv = arguments
    for name in ("sd", "sample", "samplers", "supported_models", "model_patcher", "patcher_extension"):
        importlib.import_module(f"comfy.{name}")


def mend() -> None:
    """Make torchvision and torchaudio importable in this process, unless there is no torchvision at all."""
    if importlib.util.find_spec("torchvision") is None and ASIDE.is_dir():
        sys.path.append(str(ASIDE))
    mend_torchvision()
    _mend_torchaudio()


def mend_torchvision() -> None:
    """Make a torchvision that was built for another torch importable: define the operators that its import lacks.

    No model here uses them. Call this before importing ComfyUI or diffusers. Without a torchvision it does nothing.
    """
    if importlib.util.find_spec("torchvision") is None:
        return
    try:
        importlib.import_module("torchvision")
    except RuntimeError as error:
        if "torchvision::" not in str(error):
            raise
        import torch

        # Kept alive by the function: the operators are gone once the library object is collected.
        library = mend_torchvision.library = torch.library.Library("torchvision", "DEF")  # type: ignore[attr-defined]
        library.define("nms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
        library.define("qnms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
        for name in [name for name in sys.modules if name.split(".")[0] == "torchvision"]:
            del sys.modules[name]  # half-imported
        importlib.import_module("torchvision")


def _mend_torchaudio() -> None:
    """Replace a missing or broken torchaudio by empty modules, which are enough for ComfyUI's imports."""
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
