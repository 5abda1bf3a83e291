"""Attention of joint blocks that other packs have replaced and that do not hand on ComfyUI's options."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch.nn.functional as F
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

# Called with query, key and value, (B, heads, N, head_dim), and the attention's output, of the same shape.
OnAttention = Callable[[Tensor, Tensor, Tensor, Tensor], None]

_NAMES = ("query", "key", "value")


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


def pack_of(block: nn.Module) -> str:
    """The module that a block's `forward` comes from, if another pack has replaced ComfyUI's; else ""."""
    forward = vars(block).get("forward") or type(block).forward
    module = str(getattr(getattr(forward, "func", forward), "__module__", None) or "another pack")
    if module.startswith("comfy."):
        return ""
    _, found, rest = module.replace("\\", "/").rpartition("custom_nodes/")
    return rest.partition(".")[0] if found else module
