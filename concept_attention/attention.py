"""Concept attention: concept tokens attend to themselves and to the image; no other token attends to them."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor


def attend_concepts(
    concept_q: Tensor,
    concept_k: Tensor,
    concept_v: Tensor,
    image_k: Tensor,
    image_v: Tensor,
    *,
    key_bias: Tensor | None = None,
) -> Tensor:
    """Attend from the concept tokens to concept and image tokens.

    `softmax(q_c [k_c ; k_img]^T / sqrt(head_dim)) [v_c ; v_img]`. Only the concept rows are queried: the image rows
    and the prompt's keys take no part.

    Args:
        concept_q: queries after normalisation and position embedding, (B, heads, C, head_dim), float.
        concept_k: keys, same shape.
        concept_v: values, same shape.
        image_k: keys after normalisation and position embedding, (B, heads, N, head_dim), float.
        image_v: values, same shape.
        key_bias: added to the logits of the concept keys, (C,) or (B, C), float. A token that stands for n
            identical ones has the bias log(n). It is rounded to the dtype of the queries. (1, C, C) has a row for
            each query: minus infinity where the query must not attend to that concept key.

    Returns:
        Attention output before the output projection, (B, C, heads * head_dim), dtype of the inputs.

    Raises:
        ValueError: if the shapes do not fit together.

    Convention: the last axis runs over heads first, head_dim second.
    Source: arXiv:2502.04320, concept attention.

    >>> generator = torch.Generator().manual_seed(0)
    >>> q, k, v = torch.randn(3, 1, 2, 4, 8, generator=generator)  # 2 heads of 8 features, 4 concepts
    >>> image_k, image_v = torch.randn(2, 1, 2, 100, 8, generator=generator)  # 100 image tokens
    >>> attend_concepts(q, k, v, image_k, image_v).shape
    torch.Size([1, 4, 16])
    """
    _check_shapes(concept_q, concept_k, concept_v, image_k, image_v)
    bias = None if key_bias is None else _key_bias(key_bias, concept_q, image_k)
    # The plain product needs no copy of keys and values, which for a few queries costs more than the attention. It
    # keeps its logits in the dtype of the queries, so half precision is left to the fused kernels, and its logits
    # are smaller than such a copy only while there are fewer concepts than features.
    plain = concept_q.dtype in (torch.float32, torch.float64) and concept_q.shape[2] <= concept_q.shape[3]
    attend = _attend_by_products if plain else _attend_fused
    attended = attend(concept_q, concept_k, concept_v, image_k, image_v, bias)
    return rearrange(attended, "b heads c head_dim -> b c (heads head_dim)")


def _attend_by_products(
    concept_q: Tensor, concept_k: Tensor, concept_v: Tensor, image_k: Tensor, image_v: Tensor, bias: Tensor | None
) -> Tensor:
    count, head_dim = concept_q.shape[2:]
    scaled = concept_q * head_dim**-0.5
    logits = torch.cat((scaled @ concept_k.mT, scaled @ image_k.mT), dim=-1)
    weights = (logits if bias is None else logits + bias).softmax(dim=-1)
    return weights[..., :count] @ concept_v + weights[..., count:] @ image_v


def _attend_fused(
    concept_q: Tensor, concept_k: Tensor, concept_v: Tensor, image_k: Tensor, image_v: Tensor, bias: Tensor | None
) -> Tensor:
    key = torch.cat((concept_k, image_k), dim=2)
    value = torch.cat((concept_v, image_v), dim=2)
    return F.scaled_dot_product_attention(concept_q, key, value, attn_mask=bias)


def _check_shapes(concept_q: Tensor, concept_k: Tensor, concept_v: Tensor, image_k: Tensor, image_v: Tensor) -> None:
    if concept_q.ndim != 4:
        raise ValueError(f"concept_q must be (B, heads, C, head_dim), got shape {tuple(concept_q.shape)}.")
    batch, heads, count, head_dim = concept_q.shape
    tokens = image_k.shape[2] if image_k.ndim == 4 else "N"
    for name, tensor, expected in (
        ("concept_k", concept_k, (batch, heads, count, head_dim)),
        ("concept_v", concept_v, (batch, heads, count, head_dim)),
        ("image_k", image_k, (batch, heads, tokens, head_dim)),
        ("image_v", image_v, (batch, heads, tokens, head_dim)),
    ):
        if tensor.shape != expected:
            raise ValueError(f"{name} must have shape {expected}, got {tuple(tensor.shape)}.")


def _key_bias(key_bias: Tensor, concept_q: Tensor, image_k: Tensor) -> Tensor:
    """Bias of every key, (B or 1, 1, C or 1, C + N): `key_bias` for the concepts, 0 for the image."""
    batch, _, count, _ = concept_q.shape
    if key_bias.shape not in ((count,), (batch, count), (1, count, count)):
        raise ValueError(
            f"key_bias must have shape {(count,)}, {(batch, count)} or {(1, count, count)} for concept_q of shape "
            f"{tuple(concept_q.shape)}, got {tuple(key_bias.shape)}."
        )
    # CUDA kernels refuse, or misread, a bias of another dtype than the queries.
    every_key = F.pad(key_bias.to(concept_q), (0, image_k.shape[2]))
    queries = count if key_bias.ndim == 3 else 1
    return every_key.reshape(-1, 1, queries, every_key.shape[-1])
