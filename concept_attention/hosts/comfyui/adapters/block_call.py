"""What adapters are told about a forward pass: which rows are looked at, and what modules were called with."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any, NamedTuple

from torch import Tensor, nn

Rows = slice | Tensor  # of the batch; a slice selects without a copy

_OPTIONS = "transformer_options"


class ModuleCall(NamedTuple):
    """A module called in this forward pass.

    Attributes:
        arguments: positional ones.
        output: what it returned, all rows of the batch.
    """

    arguments: tuple[Any, ...]
    output: Any


class BlockCall(NamedTuple):
    """A joint block called in this forward pass.

    Attributes:
        arguments: by the names of the block's parameters, all rows of the batch.
        rows: which of them are looked at.
        positions: of the text tokens, those whose position embedding the concepts take: one for all, or one for each.
        calls: the adapter's `conditioning_modules` as they were called before the first joint block.
    """

    arguments: Mapping[str, Any]
    rows: Rows
    positions: slice = slice(0, 1)
    calls: Mapping[str, ModuleCall] = MappingProxyType({})

    def select(self, tensor: Tensor) -> Tensor:
        """The rows looked at; all of a tensor that is the same for the whole batch, (1, ...)."""
        return tensor if len(tensor) == 1 else tensor[self.rows]

    def rotations(self, pe: Tensor, axis: int, text: slice) -> Tensor:
        """The concepts' position embeddings, those of text tokens; of a shorter prompt the last one stands in.

        Args:
            pe: position embeddings of all tokens along `axis`, (B or 1, ...).
            text: where the text tokens lie.
        """
        start, stop, _ = self.positions.indices(text.stop - text.start)
        if start == stop:
            start -= 1
        return self.select(pe.narrow(axis, text.start + start, stop - start))


def named_arguments(block: nn.Module, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> dict[str, Any]:
    """Arguments by the names of the parameters of the block's class; another pack may have replaced its `forward`.

    Those that only a `*args` takes are a tuple by that name.
    """
    names, rest = _names(type(block).forward)
    unnamed = {rest: args[len(names) :]} if rest else {}
    return {**dict(zip(names, args, strict=False)), **unnamed, **kwargs}


def with_options(
    block: nn.Module, args: tuple[Any, ...], kwargs: Mapping[str, Any], options: Mapping[str, Any]
) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """The same arguments with other `transformer_options`, positional ones staying so."""
    names, _ = _names(type(block).forward)
    if _OPTIONS in names[: len(args)]:
        place = names.index(_OPTIONS)
        return (*args[:place], options, *args[place + 1 :]), dict(kwargs)
    return args, {**kwargs, _OPTIONS: options}


@functools.lru_cache(maxsize=32)  # reading a signature costs as much as a hook's whole way through Python
def _names(forward: Callable[..., Any]) -> tuple[tuple[str, ...], str | None]:
    """Of the parameters that take one positional argument each, and of the one that takes the rest."""
    parameters = list(inspect.signature(forward).parameters.values())[1:]
    rest = next((one.name for one in parameters if one.kind is one.VAR_POSITIONAL), None)
    return tuple(one.name for one in parameters if one.kind is one.POSITIONAL_OR_KEYWORD), rest
