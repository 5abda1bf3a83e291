"""Scores for models in which concepts cannot ride: what a layer's attention between image and text says of concepts.

Concepts are keys only. Nothing of the model's own attention is changed, and concepts need not be in the prompt.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor

from .scores import float32_products

_CHUNK_ELEMENTS = 2**23  # numbers of each kind held at a time: 32 MiB
_TINY = torch.finfo(torch.float32).tiny


class TextAttention(NamedTuple):
    """One layer's attention between image and text, as a host observed it, and the concepts' keys.

    Attributes:
        image_q: queries of the image tokens, as the attention received them, (B, heads, N, head_dim), any float dtype.
        text_k: keys of the prompt's tokens, same, (B, heads, T, head_dim).
        concept_k: keys of all concepts' tokens, concept by concept, (B or 1, heads, J, head_dim).
        counts: tokens of each concept, adding up to J.
        image_out: attention output of the image tokens before its projection, (B, N, heads * head_dim); None if it was
            not asked for.
        text_bias: added to the logits of the prompt's tokens, broadcast to (B, heads, N, T); None if there is none.
    """

    image_q: Tensor
    text_k: Tensor
    concept_k: Tensor
    counts: tuple[int, ...]
    image_out: Tensor | None = None
    text_bias: Tensor | None = None


@torch.no_grad()
def cross_scores(attention: TextAttention) -> Tensor:
    """Logarithm of the attention that every image token would pay to every concept, beside the prompt.

    `log mean_h mean_j exp(q_h . k_j,h / sqrt(head_dim)) / Z_h`, where j are the concept's own tokens and `Z_h` is the
    sum of the same exponentials over the prompt's tokens. A concept that is a word of the prompt scores the logarithm
    of that word's own attention map, the mean over heads and tokens. So the softmax of the scores over concepts is a
    concept's part of the attention that all concepts get, and a score says something even of a concept alone.

    Args:
        attention: of one layer.

    Returns:
        (B, C, N), float32. Its memory is some 100 MiB beside the result, however large image and prompt are.

    Source: heat maps of words as in DAAM (arXiv:2210.04885, Sec. 3), here for words that need not be in the prompt.

    >>> q = torch.tensor([[[[0.0], [1.0]]]])  # one head of one feature, two image tokens
    >>> text = torch.tensor([[[[0.0], [1.0986]]]])  # two words; the second token prefers the second, 3 to 1
    >>> maps = cross_scores(TextAttention(q, text, text, (1, 1))).exp()
    >>> [[round(value, 2) for value in concept] for concept in maps[0].tolist()]
    [[0.5, 0.25], [0.5, 0.75]]
    """
    query, counts, prompt = attention.image_q, attention.counts, attention.text_k.shape[2]
    batch, heads, _, width = query.shape
    keys = torch.cat([attention.text_k, attention.concept_k.expand(batch, -1, -1, -1)], dim=2).float()
    # By these values attention sums up what it pays: the first column to the prompt, the others to a concept's mean
    # token. Some kernels need values as wide as keys, so what is narrower gets zeros.
    wide = max(width, len(counts) + 1)
    if wide > width:
        query, keys = (F.pad(part, (0, wide - width)) for part in (query, keys))
    values = keys.new_zeros(keys.shape[2], wide)
    values[:prompt, 0] = 1
    for column, own in enumerate(torch.arange(prompt, keys.shape[2]).split(counts), start=1):
        values[own, column] = 1 / len(own)
    bias = None if attention.text_bias is None else F.pad(attention.text_bias.float(), (0, sum(counts)))
    rows = max(1, _CHUNK_ELEMENTS // max(1, batch * heads * max(values.shape)))
    found = []
    with float32_products(query.device):
        for chunk in range(0, query.shape[2], rows):
            part = slice(chunk, chunk + rows)
            paid = F.scaled_dot_product_attention(
                query[:, :, part].float(),
                keys,
                values.expand(batch, heads, -1, -1),
                attn_mask=bias if bias is None or bias.shape[-2] == 1 else bias[..., part, :],
                scale=width**-0.5,
            )
            found.append((paid[..., 1 : len(counts) + 1] / paid[..., :1].clamp_min(_TINY)).mean(1))
    return torch.cat(found, dim=1).transpose(1, 2).clamp_min(_TINY).log()


@torch.no_grad()
def gram_scores(attention: TextAttention, frames: int = 1) -> Tensor:
    """Similarity of every image token to the token that answers a concept best, -1 to 1.

    Per head and frame, the anchor of a concept is the image token whose query fits the mean of the concept's keys best,
    and the score of a token is the mean over heads of the cosine between its attention output and the anchor's. Every
    concept is scored without regard to the others.

    Args:
        attention: of one layer, with `image_out`.
        frames: of a video; its tokens are frame by frame.

    Returns:
        (B, C, N), float32.

    Raises:
        ValueError: if `image_out` is missing.

    Source: GramCol of IMAP (CVPR 2026): the column of the Gram matrix of attention outputs that belongs to the anchor.
    Here cosines, so that layers and heads of different scale can be averaged.

    >>> q = torch.tensor([[[[1.0], [0.5], [-1.0]]]])
    >>> out = torch.tensor([[[1.0], [2.0], [-3.0]]])
    >>> gram_scores(TextAttention(q, q[..., :1, :], q[..., :1, :], (1,), out)).tolist()
    [[[1.0, 1.0, -1.0]]]
    """
    query, own, out = attention.image_q, attention.concept_k, attention.image_out
    if out is None:
        raise ValueError("gram needs the attention's output, got None for image_out.")
    batch, heads = query.shape[:2]
    own = own.expand(batch, -1, -1, -1).float()
    keys = torch.stack([part.mean(2) for part in own.split(attention.counts, dim=2)], dim=2)
    with float32_products(query.device):
        fit = rearrange(keys @ query.float().transpose(-1, -2), "b h c (f n) -> b h f c n", f=frames)
        values = F.normalize(rearrange(out.float(), "b (f n) (h d) -> b h f n d", f=frames, h=heads), dim=-1)
        anchors = torch.take_along_dim(values, fit.argmax(-1)[..., None], dim=-2)  # (b h f c d)
        similarity = (anchors @ values.transpose(-1, -2)).mean(1)
    return rearrange(similarity, "b f c n -> b c (f n)")


def resize_scores(scores: Tensor, grid: Sequence[int], wanted: Sequence[int], logarithms: bool) -> Tensor:
    """Scores of one layer on a coarser token grid, bilinearly on the grid of the recording.

    Args:
        scores: (B, C, N), float32.
        grid, wanted: token grids (T, H, W), the same number of frames.
        logarithms: whether the scores are logarithms, whose arguments are what is interpolated.
    """
    if tuple(grid) == tuple(wanted):
        return scores
    maps = rearrange(scores, "b c (t h w) -> (b t) c h w", t=grid[0], h=grid[1], w=grid[2])
    peak = maps.amax(dim=(1, 2, 3), keepdim=True)
    maps = (maps - peak).exp() if logarithms else maps
    maps = F.interpolate(maps, size=tuple(wanted[1:]), mode="bilinear", antialias=False)
    maps = maps.clamp_min(_TINY).log() + peak if logarithms else maps
    return rearrange(maps, "(b t) c h w -> b c (t h w)", t=grid[0])
