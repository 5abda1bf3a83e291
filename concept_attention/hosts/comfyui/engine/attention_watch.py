"""The first attention call of a joint block, also of one that another pack has replaced."""

from __future__ import annotations

import functools
import sys
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from types import FrameType, TracebackType
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from ..adapters.block_call import AttentionModules, GivenAttention
from ..guard import guarded

# Called with query, key and value, (B, heads, N, head_dim), and the attention's output, of the same shape.
OnAttention = Callable[[Tensor, Tensor, Tensor, Tensor], None]

_NAMES = ("query", "key", "value")
_PARTS = ("queries", "keys", "values")


class AttentionWatch(TorchFunctionMode):
    """Observes calls of PyTorch's own attention in this thread, for the time of a `with` block.

    Args:
        on_attention: called after each.
    """

    def __init__(self, on_attention: OnAttention) -> None:
        super().__init__()
        self._on_attention = on_attention

    def __torch_function__(
        self, function: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        output = function(*args, **kwargs)
        if function is F.scaled_dot_product_attention:
            query, key, value = (args[n] if n < len(args) else kwargs[name] for n, name in enumerate(_NAMES))
            self._on_attention(query, key, value, output)
        return output


class FirstAttention:
    """Hands a block's first attention call to `step`, with its arguments, options and output."""

    def __init__(self, step: Callable[[tuple[Any, ...], Mapping[str, Any], Tensor], None]) -> None:
        self._step = step
        self._done = False
        self._inside = False  # an override: only the output that it returns counts

    def attend(
        self, chained: Callable[..., Any] | None, attention: Callable[..., Any], *args: Any, **kwargs: Any
    ) -> Any:
        """An `optimized_attention_override`, around another pack's if there is one."""
        preferred = _preferred(sys._getframe(1)) or attention
        inside, self._inside = self._inside, True
        try:
            output = preferred(*args, **kwargs) if chained is None else chained(attention, *args, **kwargs)
        finally:
            self._inside = inside
        self.observe(args, kwargs, output)
        return output

    def on_attention(self, query: Tensor, key: Tensor, value: Tensor, output: Tensor) -> None:
        """A call of PyTorch's attention, see `AttentionWatch`."""
        if not self._inside and query.ndim == 4:
            kwargs = {"skip_reshape": True, "skip_output_reshape": True}
            self.observe((query, key, value, query.shape[1]), kwargs, output)

    def observe(self, args: tuple[Any, ...], kwargs: Mapping[str, Any], output: Tensor) -> None:
        """A call of the host's attention, with these arguments."""
        if not self._done:
            self._done = True
            self._step(args, kwargs, output)


class GivenWatch:
    """An attention that a node gives a block, with the block's own keys and values beside what it returns.

    Args:
        given: that attention.
        observe: see `FirstAttention`.
        own: whether a call is of the run that observes.
        fail: takes the reason if something goes wrong.
    """

    def __init__(
        self,
        given: GivenAttention,
        observe: Callable[[tuple[Any, ...], Mapping[str, Any], Tensor], None],
        own: Callable[[], bool],
        fail: Callable[[str], None],
    ) -> None:
        self._given = given
        self._observe = observe
        self._own = own
        self._fail = fail

    def __call__(self, tokens: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        outputs: list[Tensor] = []

        def on_output(module: nn.Module, given: tuple[Any, ...]) -> None:
            if self._own():
                outputs.append(given[0])

        hook = self._given.output.register_forward_pre_hook(on_output)
        try:
            projected = self._given.attend(tokens, *args, **kwargs)
        finally:
            hook.remove()
        parts: tuple[Tensor, ...] = ()
        with guarded(self._fail), torch.no_grad():
            parts = self._given.project(tokens)
        if parts and outputs:
            self._observe((*parts, parts[0].shape[1]), {"skip_reshape": True}, outputs[0][None])
        return projected


class ModuleWatch:
    """The attention of a joint block, put together from the modules around it, for the time of a `with` block.

    Args:
        modules: around the attention.
        finish: what the block does with `queries` or `keys`, of which it gets the name, before its attention.
        queries: whether they are needed; if not, they are handed on as the module gives them.
        on_attention: called once, after the attention.
        own: whether a call is of the run that observes.
        fail: takes the reason if something goes wrong.
    """

    def __init__(
        self,
        modules: AttentionModules,
        finish: Callable[[str, Tensor], Tensor],
        queries: bool,
        on_attention: OnAttention,
        own: Callable[[], bool],
        fail: Callable[[str], None],
    ) -> None:
        self._modules = modules
        self._finish = finish
        self._queries = queries
        self._on_attention = on_attention
        self._own = own
        self._fail = fail
        self._parts: dict[str, Tensor] = {}
        self._done = False
        self._undo = ExitStack()

    def __enter__(self) -> ModuleWatch:
        for name in _PARTS:
            hook = functools.partial(self._on_part, name)
            self._undo.callback(getattr(self._modules, name).register_forward_hook(hook).remove)
        self._undo.callback(self._modules.output.register_forward_pre_hook(self._on_output).remove)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._undo.close()
        self._parts.clear()

    def _on_part(self, name: str, module: nn.Module, args: tuple[Any, ...], output: Tensor) -> None:
        if self._own() and not self._done:
            self._parts[name] = output

    def _on_output(self, module: nn.Module, args: tuple[Any, ...]) -> None:
        if not self._own() or self._done or len(self._parts) < 3:
            return
        self._done = True
        observed: tuple[Tensor, ...] = ()
        with guarded(self._fail), torch.no_grad():
            query, key, value = (self._by_heads(self._parts[name]) for name in _PARTS)
            query = self._finish("queries", query) if self._queries else query
            observed = (query, self._finish("keys", key), value, self._by_heads(args[0]))
        if observed:
            self._on_attention(*observed)

    def _by_heads(self, states: Tensor) -> Tensor:
        return states.unflatten(-1, (self._modules.heads, -1)).transpose(1, 2)


def _preferred(host: FrameType) -> Callable[..., Any] | None:
    """The attention that a layer prefers, such as one of int8; None if it has none.

    ComfyUI 0.38 and newer would call it, but forgets it where there is an override, which is not told of it.

    Args:
        host: that calls the override.
    """
    function: Callable[..., Any] | None = getattr(host.f_locals.get("preferred_attention"), "function", None)
    return function


def pack_of(block: nn.Module) -> str:
    """The module that a block's `forward` comes from, if another pack has replaced ComfyUI's; else ""."""
    forward = vars(block).get("forward") or type(block).forward
    module = str(getattr(getattr(forward, "func", forward), "__module__", None) or "another pack")
    if module.startswith("comfy."):
        return ""
    _, found, rest = module.replace("\\", "/").rpartition("custom_nodes/")
    return rest.partition(".")[0] if found else module
