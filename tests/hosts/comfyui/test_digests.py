"""What the digest of a latent survives and what it tells apart."""

from __future__ import annotations

import comfy.model_management
import comfy.nested_tensor
import pytest
import torch
from torch import Tensor

from concept_attention.hosts.comfyui.digests import digest, frame_digests


def latent(seed: int, shape: tuple[int, ...] = (1, 4, 6, 8)) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16])
def test_a_digest_survives_the_hosts_move(monkeypatch: pytest.MonkeyPatch, dtype: torch.dtype) -> None:
    monkeypatch.setattr(comfy.model_management, "intermediate_dtype", lambda: dtype)
    samples = latent(0)
    moved = samples.to(comfy.model_management.intermediate_device(), dtype, copy=True)
    assert digest(moved) == digest(samples)
    assert digest(samples.to(memory_format=torch.channels_last)) == digest(samples)


def test_a_digest_tells_content_shape_and_order_apart() -> None:
    samples = latent(0, (2, 4, 6, 6))
    changed = samples.clone()
    changed[1, 3, 5, 5] += 1e-6
    others = [changed, samples.flip(0), samples.mT, samples[:1], samples.flatten(2), samples.unsqueeze(2)]
    assert len({digest(other) for other in (samples, *others)}) == 7


def test_a_nested_latent_is_known_by_all_its_parts() -> None:
    first, second = latent(0), latent(1, (1, 8, 5))
    nested = comfy.nested_tensor.NestedTensor([first, second])
    assert digest(nested) == digest(comfy.nested_tensor.NestedTensor([first.clone(), second.clone()]))
    assert digest(nested) != digest(comfy.nested_tensor.NestedTensor([first, second + 1]))


def test_a_video_has_a_digest_per_latent_frame_and_an_image_none() -> None:
    video = latent(0, (2, 4, 3, 6, 8))
    found = frame_digests(video)
    assert len(set(found)) == 3 and frame_digests(video[:, :, 1:]) == found[1:]
    assert frame_digests(comfy.nested_tensor.NestedTensor([video, latent(1)])) == found
    assert frame_digests(latent(0)) == ()
