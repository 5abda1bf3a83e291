"""ComfyUI's library in a process that is not its server's."""

from __future__ import annotations

import importlib
import os
import sys
from pathlib import Path

from ...errors import UserError

VARIABLE = "COMFYUI_PATH"


def import_comfyui(folder: Path | None = None, cpu: bool = False) -> None:
    """Make `comfy` and ComfyUI's other modules importable, as `python main.py` would; nothing if they are already.

    Args:
        folder: ComfyUI's; None is that of the environment variable COMFYUI_PATH, or the one that this pack lies in.
        cpu: compute on the CPU.

    Raises:
        UserError: if there is no ComfyUI, or a package that it requires is missing.
    """
    if _loaded():
        return
    root = _find(folder)
    sys.path.insert(0, str(root))
    arguments, sys.argv = sys.argv, [sys.argv[0], *(["--cpu"] if cpu else [])]
    try:  # ComfyUI reads the command line when its arguments are imported
        importlib.import_module("comfy.options").enable_args_parsing()
        importlib.import_module("comfy.cli_args")
    except ModuleNotFoundError as error:
        sys.path.remove(str(root))
        raise UserError(f"ComfyUI needs the package {error.name!r}. Run this with the Python that runs it.") from error
    finally:
        sys.argv = arguments


def _loaded() -> bool:
    return "comfy.cli_args" in sys.modules


def _find(folder: Path | None) -> Path:
    named = folder or (Path(os.environ[VARIABLE]) if os.environ.get(VARIABLE) else None)
    candidates = [named] if named else list(Path(__file__).resolve().parents)
    for candidate in candidates:
        if (candidate / "comfy" / "cli_args.py").is_file():
            return candidate.resolve()
    where = f"{named} is no ComfyUI folder" if named else "This pack does not lie in a ComfyUI folder"
    raise UserError(f"{where}. Name it with --comfyui DIR.")
