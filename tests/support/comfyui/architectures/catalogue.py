"""All tiny architectures: every one that ComfyUI can run with concepts.

Each family of the registry has a module of its name here, with `VARIANTS`.
"""

from __future__ import annotations

import importlib

from concept_attention.hosts.comfyui.adapters.registry import FAMILIES

from .tiny_architecture import TinyArchitecture


def variants_of(family: str) -> tuple[TinyArchitecture, ...]:
    """The family's; none if the ComfyUI at hand lacks it, because its adapter cannot be imported then."""
    try:
        variants: tuple[TinyArchitecture, ...] = importlib.import_module(f".{family}", __package__).VARIANTS
    except ImportError as error:
        if not (error.name or "").startswith("comfy."):
            raise
        return ()
    return variants


TINY_ARCHITECTURES: tuple[TinyArchitecture, ...] = tuple(
    variant for family, _ in FAMILIES for variant in variants_of(family)
)
