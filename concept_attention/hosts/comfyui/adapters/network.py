"""The network inside a ComfyUI model, without torch.compile."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

from torch import nn

Layers = nn.ModuleList | list[nn.Module]  # of a network, in the order in which they run


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

    What a hook adds for one forward pass must not be traced into a graph that is used again.

    Args:
        model: a BaseModel.
        blocks_of: returns the network's list of joint blocks.
        count: how many of them.
    """
    with ExitStack() as undo:
        compiled = model.diffusion_model
        base = eager(compiled)
        if base is not compiled:
            model.diffusion_model = base
            undo.callback(setattr, model, "diffusion_model", compiled)
        blocks = blocks_of(base)
        for index, block in enumerate(list(blocks)[:count]):
            if eager(block) is not block:
                blocks[index] = eager(block)
                undo.callback(blocks.__setitem__, index, block)
        for module in (base, *list(blocks)[:count]):
            _call_eagerly(module, undo)
        yield base


def _call_eagerly(module: nn.Module, undo: ExitStack) -> None:
    """Undo `module.compile()`, which compiles in place."""
    compiled = getattr(module, "_compiled_call_impl", None)
    if compiled is not None:
        module._compiled_call_impl = None
        undo.callback(setattr, module, "_compiled_call_impl", compiled)
