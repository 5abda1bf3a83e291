"""A pipeline's networks without torch.compile."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

from torch import nn

from .networks import networks_of

logger = logging.getLogger("concept_attention")


def eager(module: Any) -> Any:
    """The module that torch.compile wraps; the module itself if it is not compiled."""
    return module._orig_mod if "_orig_mod" in getattr(module, "_modules", ()) else module


@contextmanager
def running_eager(pipeline: Any) -> Iterator[None]:
    """Run a pipeline's networks without torch.compile for a while.

    A compiled graph does not call hooks, and what hooks add for one run must not be traced into a graph that is used
    again.
    """
    with ExitStack() as undo:
        for name, compiled in networks_of(pipeline).items():
            network = eager(compiled)
            if network is not compiled:
                setattr(pipeline, name, network)
                undo.callback(setattr, pipeline, name, compiled)
            found = [_run_eagerly(module, undo) for module in list(network.modules())]
            if network is not compiled or any(found):
                logger.warning(
                    "The %s is compiled. It runs without torch.compile while concepts are recorded: slower, and the "
                    "image is the one that it makes without torch.compile.",
                    name,
                )
        yield


def _run_eagerly(module: nn.Module, undo: ExitStack) -> bool:
    """Undo every way of compiling a module or one of its children; whether there was any."""
    found = False
    for name, child in list(module._modules.items()):
        if eager(child) is not child:
            module._modules[name] = eager(child)
            undo.callback(module._modules.__setitem__, name, child)
            found = True
    in_place = module._compiled_call_impl
    if in_place is not None:  # by `module.compile()`
        module._compiled_call_impl = None
        undo.callback(setattr, module, "_compiled_call_impl", in_place)
    forward = vars(module).get("forward")
    plain = getattr(forward, "_torchdynamo_orig_callable", None)
    if plain is not None:  # by `module.forward = torch.compile(module.forward)`
        module.forward = plain
        undo.callback(setattr, module, "forward", forward)
    return found or in_place is not None or plain is not None
