"""The double-stream block's text path, in what no tiny model shows."""

from __future__ import annotations

import types

import torch

from concept_attention.hosts.comfyui.adapters.block_call import BlockCall
from concept_attention.hosts.comfyui.adapters.chroma import Chroma


def test_slices_are_counted_from_the_end_of_the_keys() -> None:
    """Another pack may put tokens before the text; reference images come after the generated image."""
    call = BlockCall({"img": torch.zeros(1, 32, 4), "txt": torch.zeros(1, 7, 4)}, slice(None), 24)
    found = Chroma().token_slices(call, 39)
    assert (found.image, found.target) == (slice(7, 39), slice(7, 31))
    assert Chroma().token_slices(call, 42).image == slice(10, 42)


def test_float16_is_clipped_where_the_model_clips_it() -> None:
    largest = torch.full((1, 2, 4), 65504.0, dtype=torch.float16)
    block = types.SimpleNamespace(
        txt_attn=types.SimpleNamespace(proj=lambda x: x), txt_norm2=lambda x: 0 * x, txt_mlp=lambda x: x + largest
    )
    none = torch.zeros(1, 1, 4, dtype=torch.float16)
    mods = types.SimpleNamespace(shift=none, scale=none, gate=none + 1)
    assert torch.equal(Chroma().update_concepts(block, largest, 0 * largest, (mods, mods)), largest)
