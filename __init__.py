"""ComfyUI loads this folder as a pack of nodes. Nothing of the host is imported before it asks for the nodes."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from comfy_api.latest import ComfyExtension

WEB_DIRECTORY = "./web"
MINIMUM_COMFYUI = (0, 19, 0)  # as `requires-comfyui` in pyproject.toml says


def comfy_entrypoint() -> ComfyExtension:
    """Called by ComfyUI, which logs an error raised here as one line, and the import as failed.

    Raises:
        RuntimeError: if this ComfyUI is too old for the nodes.
    """
    _check_version()
    from .nodes.extension import ConceptAttentionExtension

    return ConceptAttentionExtension()


def _check_version() -> None:
    from comfyui_version import __version__

    if tuple(map(int, re.findall(r"\d+", __version__)[:3])) < MINIMUM_COMFYUI:
        needed = ".".join(map(str, MINIMUM_COMFYUI))
        raise RuntimeError(f"ConceptAttention needs ComfyUI {needed} or newer, this is {__version__}. Update ComfyUI.")
