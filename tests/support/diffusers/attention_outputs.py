"""What torch's attention gives."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from torch import Tensor
from torch.nn import functional


@contextmanager
def attention_outputs() -> Iterator[list[Tensor]]:
    """What torch's attention gives meanwhile, each (B, tokens, heads * head_dim)."""
    attended: list[Tensor] = []
    attend = functional.scaled_dot_product_attention

    def note(*args: Any, **options: Any) -> Tensor:
        result = attend(*args, **options)
        attended.append(result.transpose(1, 2).flatten(2).clone())
        return result

    functional.scaled_dot_product_attention = note
    try:
        yield attended
    finally:
        functional.scaled_dot_product_attention = attend
