"""Rotary position embedding of the keys that concepts look at, without copies of them in float32."""

from __future__ import annotations

import torch
from torch import Tensor

_CHUNK_ELEMENTS = 2**21  # rotated in float32 at a time: 8 MiB, which stays in a cache


def rotate(tokens: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """Rotate each pair of neighbouring features by the angle of its position.

    The result is that of `apply_rotary_emb(tokens, (cos, sin), sequence_dim=1)`, which the blocks call. That makes
    six temporary copies of the tokens; here one pass of complex products does it, some tokens at a time.

    Args:
        tokens: queries or keys, (B, N, heads, head_dim), any float dtype.
        cos, sin: of the angles, (N, head_dim), each value twice in a row.

    Returns:
        The rotated tokens, same shape and dtype, computed in float32.

    Source: diffusers/models/embeddings.py (0.42), `apply_rotary_emb`.
    """
    cos, sin = cos.to(tokens.device), sin.to(tokens.device)
    angles = torch.complex(cos[:, ::2].float(), sin[:, ::2].float())[:, None]  # (N, 1, head_dim / 2)
    count = tokens.shape[1]
    step = max(1, _CHUNK_ELEMENTS * count // max(1, tokens.numel()))
    rotated = torch.empty_like(tokens)
    for start in range(0, count, step):
        part = slice(start, start + step)
        pairs = torch.view_as_complex(tokens[:, part].float().unflatten(-1, (-1, 2)))
        rotated[:, part] = torch.view_as_real(pairs * angles[part]).flatten(-2)
    return rotated
