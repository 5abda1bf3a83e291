"""The arguments of a module's call, by name."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Mapping
from typing import Any

from torch import nn

Arguments = Mapping[str, Any]


def named(module: nn.Module, args: tuple[Any, ...], kwargs: Arguments) -> Arguments:
    """Arguments by the names of the parameters of the module's class, whose `forward` a cache may have replaced."""
    kind: Any = type(module)
    return {**dict(zip(_parameter_names(kind), args, strict=False)), **kwargs}


@functools.lru_cache(maxsize=32)
def _parameter_names(kind: Any) -> tuple[str, ...]:
    """Of `forward`, of a class or of the first above it that does not pass on whatever it is given."""
    for base in kind.__mro__:
        parameters = inspect.signature(base.forward).parameters.values() if "forward" in vars(base) else ()
        names = [one.name for one in parameters if one.kind in (one.POSITIONAL_ONLY, one.POSITIONAL_OR_KEYWORD)][1:]
        if names or (parameters and not any(one.kind is one.VAR_POSITIONAL for one in parameters)):
            return tuple(names)
    return ()
