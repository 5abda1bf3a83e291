"""What adapters are told about a forward pass: the call of a joint block, and calls of modules before it."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any, NamedTuple

from torch import Tensor, nn

from ...joint_text import Rows
from ..guard import NotRecordable

OPTIONS = "transformer_options"


class ModuleCall(NamedTuple):
    """A call of a module in this forward pass.

    Attributes:
        arguments: the positional ones.
        output: what it returned, all rows of the batch.
    """

    arguments: tuple[Any, ...]
    output: Any


class AttentionModules(NamedTuple):
    """The modules around a joint block's attention, for a block that ComfyUI hands no options to.

    Attributes:
        queries, keys, values: modules whose outputs are those of all tokens, (B, N, heads * head_dim).
        output: the output projection, whose input is the attention's output, of the same shape.
        heads: number of heads.
    """

    queries: nn.Module
    keys: nn.Module
    values: nn.Module
    output: nn.Module
    heads: int


class GivenAttention(NamedTuple):
    """An attention that a node gives a joint block in place of the block's own.

    Attributes:
        argument: its name among the block's.
        attend: the attention, called with the block's tokens, (N, D), first; it projects its output itself.
        project: queries, keys and values of these tokens, (1, heads, N, head_dim).
        output: the output projection, whose input is the attention's output, (N, heads * head_dim).
    """

    argument: str
    attend: Callable[..., Tensor]
    project: Callable[[Tensor], tuple[Tensor, Tensor, Tensor]]
    output: nn.Module


class BlockCall(NamedTuple):
    """A call of a joint block, or of one with cross-attention, in this forward pass.

    Attributes:
        arguments: by the names of the block's parameters, all rows of the batch.
        rows: the recorded rows; there are B of them.
        tokens: number of target image tokens.
        positions: the text tokens whose position embeddings the concepts take: one for all, or one each.
        calls: the adapter's `conditioning_modules` as they were called before the first joint block.
        prepared: what the adapter's `prepare` returned.
        inputs: the network's own arguments by name, where the reading is not `concept`.
    """

    arguments: Mapping[str, Any]
    rows: Rows
    tokens: int = 0
    positions: slice = slice(0, 1)
    calls: Mapping[str, ModuleCall] = MappingProxyType({})
    prepared: Any = None
    inputs: Mapping[str, Any] = MappingProxyType({})

    def select(self, tensor: Tensor) -> Tensor:
        """The recorded rows of a tensor; all of it if it is the same for the whole batch, (1, ...)."""
        return tensor if len(tensor) == 1 else tensor[self.rows]

    def rotations(self, pe: Tensor, axis: int, text: slice) -> Tensor:
        """The concepts' position embeddings: those of text tokens, the last one if the prompt is too short.

        Args:
            pe: position embeddings of all tokens along `axis`, (B or 1, ...).
            text: where the text tokens lie.
        """
        start, stop, _ = self.positions.indices(text.stop - text.start)
        if start == stop:
            start -= 1
        return self.select(pe.narrow(axis, text.start + start, stop - start))


def check_one_text(image: Tensor, text: Tensor) -> None:
    """Refuse a joint block's call with more texts than images.

    Raises:
        NotRecordable: see above; which attention of the block is that of the prompt cannot be told then.
    """
    if len(image) != len(text):
        raise NotRecordable(
            f"another pack sends {len(text)} texts through each joint block for {len(image)} images, as Normalized "
            "Attention Guidance (NAG) does, and which of them is the prompt cannot be told"
        )


def named_arguments(block: nn.Module, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> dict[str, Any]:
    """Arguments by the names of the parameters of the block's class; another pack may have replaced its `forward`.

    Arguments that only a `*args` takes are a tuple under that name.
    """
    names, rest = _parameter_names(type(block).forward)
    unnamed = {rest: args[len(names) :]} if rest else {}
    return {**dict(zip(names, args, strict=False)), **unnamed, **kwargs}


def with_argument(
    block: nn.Module, args: tuple[Any, ...], kwargs: Mapping[str, Any], name: str, value: Any
) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """The same arguments with another value of one of them, which stays positional if it was."""
    names, _ = _parameter_names(type(block).forward)
    if name in names[: len(args)]:
        index = names.index(name)
        return (*args[:index], value, *args[index + 1 :]), dict(kwargs)
    return args, {**kwargs, name: value}


@functools.lru_cache(maxsize=32)  # reading a signature takes as long as a whole hook
def _parameter_names(forward: Callable[..., Any]) -> tuple[tuple[str, ...], str | None]:
    """Names of the parameters that take one positional argument each, and of the one that takes the rest."""
    parameters = list(inspect.signature(forward).parameters.values())[1:]
    rest = next((one.name for one in parameters if one.kind is one.VAR_POSITIONAL), None)
    return tuple(one.name for one in parameters if one.kind is one.POSITIONAL_OR_KEYWORD), rest
