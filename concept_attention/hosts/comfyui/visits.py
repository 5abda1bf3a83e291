"""What adapters are told about a forward pass: which rows are looked at, and what modules were called with."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from torch import Tensor, nn

Rows = slice | Tensor  # of the batch; a slice selects without a copy

_OPTIONS = "transformer_options"


class Call(NamedTuple):
    """A module called in this forward pass.

    Attributes:
        arguments: positional ones.
        output: what it returned, all rows of the batch.
    """

    arguments: tuple[Any, ...]
    output: Any


class Visit(NamedTuple):
    """A joint block called in this forward pass.

    Attributes:
        arguments: by the names of the block's parameters, all rows of the batch.
        rows: which of them are looked at.
        positions: of the text tokens, those whose position embedding the concepts take: one for all, or one for each.
    """

    arguments: Mapping[str, Any]
    rows: Rows
    positions: slice = slice(0, 1)


def named_arguments(block: nn.Module, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> dict[str, Any]:
    """Arguments by the names of the parameters of the block's class; another pack may have replaced its `forward`."""
    return {**dict(zip(_names(type(block).forward), args, strict=False)), **kwargs}


def with_options(
    block: nn.Module, args: tuple[Any, ...], kwargs: Mapping[str, Any], options: Mapping[str, Any]
) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """The same arguments with other `transformer_options`, positional ones staying so."""
    names = _names(type(block).forward)
    if _OPTIONS in names[: len(args)]:
        place = names.index(_OPTIONS)
        return (*args[:place], options, *args[place + 1 :]), dict(kwargs)
    return args, {**kwargs, _OPTIONS: options}


@functools.lru_cache(maxsize=32)  # reading a signature costs as much as a hook's whole way through Python
def _names(forward: Callable[..., Any]) -> tuple[str, ...]:
    return tuple(inspect.signature(forward).parameters)[1:]
