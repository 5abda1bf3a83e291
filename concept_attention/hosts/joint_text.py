"""What an attention that is observed says of image and text alone, for the readings that need no concept stream."""

from __future__ import annotations

import torch
from torch import Tensor

from ..text_attention import TextAttention
from .architecture import TokenSlices

Rows = slice | Tensor  # of the batch; a slice selects without a copy


def joint_text_attention(
    query: Tensor, key: Tensor, mask: Tensor | None, slices: TokenSlices, rows: Rows, concept_k: Tensor
) -> TextAttention:
    """The image's queries and the prompt's keys among those of a joint attention.

    Args:
        query, key: of all tokens, all rows, (B, heads, S, head_dim); keys possibly with fewer heads.
        mask: of the attention, or None.
        slices: where the image lies; every other token that has a query is the prompt's.
        rows: that are recorded.
        concept_k: keys of the concepts, one token each, (B, heads, C, head_dim), possibly with fewer heads.
    """
    image, target = slices.image, slices.target or slices.image
    tokens, heads = query.shape[2], query.shape[1]
    text_k = _without(key[rows][:, :, :tokens], image, dim=2)
    if not text_k.shape[2]:
        raise ValueError("This attention has no text tokens.")
    bias = None if mask is None else _without(as_bias(mask, rows, tokens), image, dim=-1)
    if bias is not None and bias.shape[-2] > 1:
        bias = bias[..., target, :]
    text_k, concept_k = (
        part.repeat_interleave(heads // part.shape[1], dim=1) if part.shape[1] < heads else part
        for part in (text_k, concept_k)
    )
    return TextAttention(query[rows][:, :, target], text_k, concept_k, (1,) * concept_k.shape[2], None, bias)


def _without(tensor: Tensor, part: slice, dim: int) -> Tensor:
    """A tensor without a part of one of its axes."""
    before = tensor.narrow(dim, 0, part.start)
    return torch.cat([before, tensor.narrow(dim, part.stop, tensor.shape[dim] - part.stop)], dim=dim)


def as_bias(mask: Tensor, rows: Rows, tokens: int) -> Tensor:
    """A mask that says which keys count, or what is added to their logits, as (B or 1, 1 or heads, 1 or S, S)."""
    bias = (
        torch.zeros(mask.shape, device=mask.device).masked_fill(~mask, -torch.inf) if mask.dtype == torch.bool else mask
    )
    bias = bias[None] if bias.ndim == 2 and bias.shape[0] == tokens == bias.shape[1] else bias
    bias = {2: bias[:, None, None], 3: bias[:, None]}.get(bias.ndim, bias)
    return (bias if len(bias) == 1 else bias[rows])[..., :tokens]
