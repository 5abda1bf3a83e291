"""ComfyUI's own compiler, which is off while a run is recorded."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import comfy.cli_args

_SWITCH = "disable_comfy_compiler"  # of ComfyUI 0.34 and newer


@dataclass
class _Runs:
    """Runs without the compiler, and what was chosen before the first of them."""

    count: int = 0
    chosen: bool = False


_LOCK = threading.Lock()
_RUNS = _Runs()


@contextmanager
def without_host_compiler() -> Iterator[None]:
    """Run networks as they are written for a while; what they compute stays the same.

    The compiler lays out the memory of some networks (MiniMax-H3, Qwen-Image 2.1) in their first pass on a GPU, and
    uses the layout in every later one. So each pass must ask for the same memory, keep none of it, and come to its end.
    Concepts need memory beside it, their scores stay, and passes may end early: sampling would fail. ComfyUI has one
    switch for all threads; a network looks at it when its pass begins, so others only lose the layout meanwhile.
    """
    args = comfy.cli_args.args
    if not hasattr(args, _SWITCH):
        yield
        return
    with _LOCK:
        if not _RUNS.count:
            _RUNS.chosen = getattr(args, _SWITCH)
        _RUNS.count += 1
        setattr(args, _SWITCH, True)
    try:
        yield
    finally:
        with _LOCK:
            _RUNS.count -= 1
            if not _RUNS.count:
                setattr(args, _SWITCH, _RUNS.chosen)
