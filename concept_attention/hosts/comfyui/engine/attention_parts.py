"""The image's part of what a joint block's attention gets and returns, whatever its layout."""

from __future__ import annotations

import torch
from torch import Tensor

from ...joint_text import Rows
from ..adapters.block_call import OPTIONS, BlockCall


def cached_references(call: BlockCall, extra: int) -> int:
    """How many keys without a query, at the end, are those of reference images that a cache has added."""
    counts = (call.arguments.get(OPTIONS) or {}).get("reference_image_num_tokens", ())
    return extra if extra and extra == sum(counts) else 0


def image_tokens(tensor: Tensor, image: slice, cached: slice) -> Tensor:
    """Keys or values of the image tokens, (B, heads, N, head_dim), with those of cached reference images."""
    found = tensor[:, :, image]
    return found if cached.start == cached.stop else torch.cat([found, tensor[:, :, cached]], dim=2)


def split_heads(tensor: Tensor, heads: int, split: bool) -> Tensor:
    """Keys or values by heads, (B, heads, N, head_dim); given as (B, N, heads * head_dim) unless `split`."""
    return tensor if split else tensor.reshape(*tensor.shape[:2], heads, -1).transpose(1, 2)


def target_tokens(output: Tensor, rows: Rows, target: slice, split: bool) -> Tensor:
    """The target image tokens of an attention output, (B, N, D)."""
    if split:
        return output[rows][:, :, target].transpose(1, 2).flatten(2)
    return output[rows][:, target]
