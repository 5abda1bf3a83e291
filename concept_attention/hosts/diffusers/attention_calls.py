"""Attention calls of diffusers' blocks, heard by whoever listens in the thread that makes them.

Newer families call `dispatch_attention_fn` of diffusers/models/attention_dispatch.py, which hands on to the backend
that is set; the others call torch's `scaled_dot_product_attention`. While any recording lasts, the name that a family
calls stands for a function that does the same and lets a listener of the same thread hear it.
"""

from __future__ import annotations

import functools
import math
import sys
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from types import ModuleType
from typing import Any

import torch
from torch import Tensor

from ..joint_text import as_bias
from ..reasons import NotRecordable

Place = tuple[ModuleType, str]  # a module and the name of the function that its blocks call

TORCH: Place = (torch.nn.functional, "scaled_dot_product_attention")  # (B, heads, tokens, head_dim)
DISPATCH = "dispatch_attention_fn"  # (B, tokens, heads, head_dim)


@dataclass(frozen=True, eq=False)
class AttentionCall:
    """One call of an attention function.

    Attributes:
        attend: the function.
        query, key, value: its first arguments, with all heads and tokens.
        rest: its other positional arguments.
        options: its keyword arguments.
        heads_axis: axis of the heads in what goes in and comes out, 1 or 2.
    """

    attend: Callable[..., Tensor]
    query: Tensor
    key: Tensor
    value: Tensor
    rest: tuple[Any, ...]
    options: Mapping[str, Any]
    heads_axis: int

    def run(self) -> Tensor:
        """What the function itself gives."""
        return self.attend(self.query, self.key, self.value, *self.rest, **self.options)

    def heads_first(self, tensor: Tensor) -> Tensor:
        """(B, heads, tokens, head_dim), from that or to that."""
        return tensor if self.heads_axis == 1 else tensor.transpose(1, 2)

    def bias(self, rows: slice) -> Tensor | None:
        """What is added to the logits in these rows, (B or 1, 1 or heads, 1 or queries, keys); None for nothing.

        Raises:
            NotRecordable: if it is no tensor.
        """
        mask = self.options.get("attn_mask", self.rest[0] if self.rest else None)
        if mask is not None and not isinstance(mask, Tensor):
            raise NotRecordable(f"its attention has a {type(mask).__name__}, which cannot be read")
        return None if mask is None else as_bias(mask, rows, self.heads_first(self.key).shape[2])

    @property
    def scaled_query(self) -> Tensor:
        """The queries by heads, (B, heads, tokens, head_dim), for logits that are divided by the root of head_dim."""
        query = self.heads_first(self.query)
        factor = self.scale * query.shape[-1] ** 0.5
        return query if math.isclose(factor, 1) else query * factor

    @property
    def scale(self) -> float:
        """What the logits are multiplied with."""
        given = self.options.get("scale")
        return self.query.shape[-1] ** -0.5 if given is None else float(given)


OnCall = Callable[[AttentionCall], Tensor]


class _Listener(threading.local):
    on_call: OnCall | None = None


_LISTENER = _Listener()
_LOCK = threading.Lock()
_HEARD: dict[Place, tuple[int, Callable[..., Tensor], Callable[..., Tensor]]] = {}  # users, own function, ours


def each_head(keys: Tensor, heads: int) -> Tensor:
    """Keys (B, heads, n, head_dim) that groups of heads share, once for each head."""
    return keys if keys.shape[1] == heads else keys.repeat_interleave(heads // keys.shape[1], dim=1)


def places_of(block: Any) -> tuple[Place, ...]:
    """What the attention processors of a block call.

    Raises:
        AttributeError: if it has no processor.
    """
    kinds = [type(module.processor) for module in block.modules() if hasattr(module, "processor")]
    if not kinds:
        raise AttributeError("it has no attention processor")
    modules = {kind.__module__: sys.modules[kind.__module__] for kind in kinds}
    return tuple((module, DISPATCH) if hasattr(module, DISPATCH) else TORCH for module in modules.values())


@contextmanager
def heard(places: Sequence[Place]) -> Iterator[None]:
    """Let calls at these places be heard for a while; threads in which nobody listens notice nothing."""
    with ExitStack() as undo:
        for place in places:
            _enter(place)
            undo.callback(_leave, place)
        yield


def listen(on_call: OnCall | None) -> None:
    """Hear this thread's calls from now on, or none. What is heard must give the call's result.

    Calls that are made meanwhile, such as the backend's own of torch, are not heard.
    """
    _LISTENER.on_call = on_call


@contextmanager
def listening(on_call: OnCall) -> Iterator[None]:
    """Hear this thread's calls for a while."""
    before = _LISTENER.on_call
    _LISTENER.on_call = on_call
    try:
        yield
    finally:
        _LISTENER.on_call = before


def _enter(place: Place) -> None:
    module, name = place
    with _LOCK:
        if place not in _HEARD:
            own = getattr(module, name)
            ours = _hearable(own, heads_axis=1 if place == TORCH else 2)
            setattr(module, name, ours)
            _HEARD[place] = 0, own, ours
        users, own, ours = _HEARD[place]
        _HEARD[place] = users + 1, own, ours


def _leave(place: Place) -> None:
    module, name = place
    with _LOCK:
        users, own, ours = _HEARD.pop(place)
        if users > 1:
            _HEARD[place] = users - 1, own, ours
        elif getattr(module, name) is ours:  # else somebody has wrapped ours, which does nothing without a listener
            setattr(module, name, own)


def _hearable(attend: Callable[..., Tensor], heads_axis: int) -> Callable[..., Tensor]:
    @functools.wraps(attend)
    def attending(query: Tensor, key: Tensor, value: Tensor, *rest: Any, **options: Any) -> Tensor:
        on_call, _LISTENER.on_call = _LISTENER.on_call, None
        if on_call is None:
            return attend(query, key, value, *rest, **options)
        try:
            return on_call(AttentionCall(attend, query, key, value, rest, options, heads_axis))
        finally:
            _LISTENER.on_call = on_call

    return attending
