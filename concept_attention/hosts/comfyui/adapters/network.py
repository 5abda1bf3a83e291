"""The network inside a ComfyUI model, without torch.compile."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from typing import Any

from torch import nn

Layers = nn.ModuleList | list[nn.Module]  # of a network, in the order in which they run


@dataclass
class _EagerRun:
    """Threads that run a network without torch.compile, and what to undo when the last of them is done."""

    threads: int = 0
    undo: ExitStack = field(default_factory=ExitStack)


_LOCK = threading.Lock()
_EAGER_RUNS: dict[int, _EagerRun] = {}  # by the network's id; only while it runs


def eager(module: Any) -> Any:
    """The module that torch.compile wraps; the module itself if it is not compiled."""
    return getattr(module, "_orig_mod", module)


def network_of(model: Any) -> Any:
    """The diffusion model of a BaseModel, not compiled."""
    return eager(model.diffusion_model)


def is_compiled(model: Any, blocks_of: Callable[[Any], Layers], count: int) -> bool:
    """Whether `running_eager` will run something without torch.compile that is compiled otherwise."""
    base = network_of(model)
    modules = (model.diffusion_model, *list(blocks_of(base))[:count])
    return any(eager(one) is not one or getattr(one, "_compiled_call_impl", None) is not None for one in modules)


@contextmanager
def running_eager(model: Any, blocks_of: Callable[[Any], Layers], count: int) -> Iterator[Any]:
    """Run a model and its first `count` joint blocks without torch.compile for a while; yields its network.

    What a hook adds for one forward pass must not be traced into a graph that is used again. Of several threads that do
    so with one model, the last to be done compiles it again.

    Args:
        model: a BaseModel.
        blocks_of: returns the network's list of joint blocks.
        count: how many of them.
    """
    base = network_of(model)
    with _LOCK:
        run = _EAGER_RUNS.setdefault(id(base), _EagerRun())
        run.threads += 1
    try:
        with _LOCK:
            _make_eager(model, base, blocks_of(base), count, run.undo)
        yield base
    finally:
        with _LOCK:
            run.threads -= 1
            if not run.threads:
                _EAGER_RUNS.pop(id(base)).undo.close()


def _make_eager(model: Any, base: nn.Module, blocks: Any, count: int, undo: ExitStack) -> None:
    compiled = model.diffusion_model
    if base is not compiled:
        model.diffusion_model = base
        undo.callback(setattr, model, "diffusion_model", compiled)
    for index, block in enumerate(list(blocks)[:count]):
        if eager(block) is not block:
            blocks[index] = eager(block)
            undo.callback(blocks.__setitem__, index, block)
    for module in (base, *list(blocks)[:count]):
        _call_eagerly(module, undo)


def _call_eagerly(module: nn.Module, undo: ExitStack) -> None:
    """Undo `module.compile()`, which compiles in place."""
    compiled = getattr(module, "_compiled_call_impl", None)
    if compiled is not None:
        module._compiled_call_impl = None
        undo.callback(setattr, module, "_compiled_call_impl", compiled)
