"""The table of architectures: every one that ComfyUI can run with concepts, a row each."""

from __future__ import annotations

from . import flux
from .row import Row

ROWS: tuple[Row, ...] = (*flux.ROWS,)
