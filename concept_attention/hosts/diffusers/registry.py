"""The architecture families of diffusers that concepts can ride through, one adapter module each."""

from __future__ import annotations

from types import ModuleType

from torch import nn

from . import flux

ADAPTERS: tuple[ModuleType, ...] = (flux,)


def adapter_for(transformer: nn.Module) -> ModuleType:
    """The adapter of a transformer.

    Raises:
        ValueError: if no adapter knows it.
    """
    for adapter in ADAPTERS:
        if adapter.matches(transformer):
            return adapter
    supported = ", ".join(adapter.__name__.rpartition(".")[2] for adapter in ADAPTERS)
    raise ValueError(
        f"{type(transformer).__name__} has no joint blocks that concepts can ride through here. "
        f"Expected a transformer of one of these families: {supported}. Choose another model."
    )
