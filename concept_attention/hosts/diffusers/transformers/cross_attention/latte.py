"""Latte in diffusers, whose layers attend to the text frame by frame.

Follows `LatteTransformer3DModel.forward` of diffusers/models/transformers/latte_transformer_3d.py (0.42). Layers across
time, between these, have no text.

Convention: frames are rows of the batch, those of a video together.
"""

from __future__ import annotations

from dataclasses import replace

from diffusers import LatteTransformer3DModel
from diffusers.models.attention import BasicTransformerBlock
from einops import rearrange
from torch import Tensor

from ...attention_calls import AttentionCall
from ...named import Arguments
from ...watch import BlockCall
from .adapter import CrossAdapter, Grid, Read


class Latte(CrossAdapter):
    """The adapter of Latte."""

    name = "latte"
    transformer_class = LatteTransformer3DModel
    block_class = BasicTransformerBlock
    projection = "caption_projection"
    frames_per_latent = 1

    def read(self, call: BlockCall, given: Arguments, attention: AttentionCall, out: Tensor, grid: Grid) -> Read | None:
        """That of all frames, whose text is the same."""
        frames = grid[0]
        every = replace(call, rows=slice(None), batch=call.batch * frames)
        read = super().read(every, given, attention, out, (1, *grid[1:]))
        if read is None:
            return None
        rows, (bias, query, image_out) = call.rows, (read.text_bias, read.image_q, read.image_out)
        query = rearrange(query, "(b f) heads n d -> b heads (f n) d", f=frames)
        image_out = rearrange(image_out, "(b f) n d -> b (f n) d", f=frames)
        bias = bias if bias is None or len(bias) == 1 else bias[::frames][rows]
        return Read(query[rows], read.text_k[::frames][rows], bias, image_out[rows])
