"""The memory benchmark's graphs run, and every run is measured."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from benchmarks.comfyui_memory import measure, recorded, stock

from ..support.server.client import Client
from ..support.server.graph import Node
from ..support.server.landscape import Landscape


@pytest.mark.parametrize("build", [stock, recorded])
def test_memory_is_read_after_every_run(comfyui: Client, build: Callable[[Landscape], Node]) -> None:
    start = Landscape(width=64, height=64)
    used = measure(comfyui, start, build(start), 3)
    assert len(used) == 3 and min(used) > 50 << 20
