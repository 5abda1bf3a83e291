"""Rotation of keys: diffusers' own function is the oracle; what is tested besides is the chunks and their memory."""

from __future__ import annotations

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from concept_attention.hosts.diffusers.transformers import rotary

embeddings = pytest.importorskip("diffusers.models.embeddings")


def angles(tokens: int, head_dim: int) -> tuple[torch.Tensor, torch.Tensor]:
    turns = 40 * torch.rand(tokens, head_dim // 2, generator=torch.Generator().manual_seed(0)) - 20
    return turns.cos().repeat_interleave(2, dim=1), turns.sin().repeat_interleave(2, dim=1)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("chunk", [1, 3 * 2 * 4 * 8, rotary._CHUNK_ELEMENTS])  # one token, three tokens, all at once
def test_tokens_are_rotated_as_the_blocks_rotate_theirs(
    monkeypatch: pytest.MonkeyPatch, dtype: torch.dtype, chunk: int
) -> None:
    monkeypatch.setattr(rotary, "_CHUNK_ELEMENTS", chunk)
    tokens = torch.randn(2, 11, 4, 8, generator=torch.Generator().manual_seed(1)).to(dtype)
    cos, sin = angles(11, 8)
    expected = embeddings.apply_rotary_emb(tokens, (cos, sin), sequence_dim=1)
    rotated = rotary.rotate(tokens, cos, sin)
    assert rotated.dtype == dtype
    # One rounding of the last digit may differ where a processor fuses multiply and add.
    torch.testing.assert_close(rotated, expected, rtol=4 * torch.finfo(dtype).eps, atol=1e-6)


def test_slices_of_a_wider_projection_are_rotated() -> None:
    fused = torch.randn(1, 6, 3 * 2 * 8, generator=torch.Generator().manual_seed(2))
    tokens = fused.chunk(3, dim=-1)[1].unflatten(-1, (2, 8))
    cos, sin = angles(9, 8)
    expected = embeddings.apply_rotary_emb(tokens, (cos[3:], sin[3:]), sequence_dim=1)
    torch.testing.assert_close(rotary.rotate(tokens, cos[3:], sin[3:]), expected, rtol=1e-6, atol=1e-6)


def test_no_temporary_grows_with_the_image(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rotary, "_CHUNK_ELEMENTS", 256)
    sizes = []

    class Sizes(TorchDispatchMode):
        def __torch_dispatch__(self, function, types, arguments=(), kwargs=None):  # type: ignore[no-untyped-def]
            result = function(*arguments, **(kwargs or {}))
            if isinstance(result, torch.Tensor) and result.dtype in (torch.float32, torch.complex64):
                sizes.append(result.untyped_storage().nbytes())
            return result

    tokens = torch.randn(1, 1024, 4, 8).to(torch.bfloat16)
    cos, sin = angles(1024, 8)
    with Sizes():
        rotary.rotate(tokens, cos, sin)
    table = cos.nbytes  # the angles as complex numbers, shared by all heads
    assert max(sizes) <= max(table, 8 * 256)
