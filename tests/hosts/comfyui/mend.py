"""torchvision and torchaudio for a ComfyUI, where those that are installed do not fit the torch that is.

Both are compiled against one torch version and build. ComfyUI imports them at its start, for models that these tests
never run, so the start is all that is mended, and only where an import fails. The pack itself needs neither.
Standard library only at import: the ComfyUI process loads this file by itself.
"""

from __future__ import annotations

import importlib
import importlib.machinery
import importlib.util
import sys
import types
from pathlib import Path
from typing import Any

ASIDE = Path(sys.prefix) / "comfyui"  # where dev.py puts a torchvision that only a ComfyUI may see


def mend() -> None:
    """Make both importable in this process, unless there is no torchvision at all."""
    if importlib.util.find_spec("torchvision") is None and ASIDE.is_dir():
        sys.path.append(str(ASIDE))
    mend_torchvision()
    _mend_torchaudio()


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

        # Kept alive by the function: a library that is collected takes its operators along.
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
