"""Entry point of the ComfyUI node pack. Host modules are imported only when ComfyUI asks for the nodes."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from comfy_api.latest import ComfyExtension

WEB_DIRECTORY = "./web"
MINIMUM_COMFYUI = (0, 19, 0)  # the same as `requires-comfyui` in pyproject.toml


def comfy_entrypoint() -> ComfyExtension:
    """The extension that holds all nodes. ComfyUI calls this, and logs an error raised here as one line.

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
