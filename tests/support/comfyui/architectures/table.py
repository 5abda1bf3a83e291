"""The table of architectures: every one that ComfyUI can run with concepts, a row each.

Each family of the registry has a module of its name here, with `ROWS`.
"""

from __future__ import annotations

import importlib

from concept_attention.hosts.comfyui.adapters.registry import FAMILIES

from .row import Row


def rows_of(family: str) -> tuple[Row, ...]:
    """None where the ComfyUI at hand lacks the family: its adapter cannot be imported then."""
    try:
        rows: tuple[Row, ...] = importlib.import_module(f".{family}", __package__).ROWS
    except ImportError as error:
        if not (error.name or "").startswith("comfy."):
            raise
        return ()
    return rows


ROWS: tuple[Row, ...] = tuple(row for family in FAMILIES for row in rows_of(family))
