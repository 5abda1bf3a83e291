"""Cutting frames out of a video's recording."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from concept_attention.choices import Kind
from concept_attention.errors import UserError
from concept_attention.heatmaps.heatmaps import make_heatmaps
from concept_attention.recording.example import example_recording
from concept_attention.recording.frames import cut_frames
from concept_attention.recording.recording import Recording, in_float16


def video(seed: int = 0) -> Recording:
    """Four latent frames of 2 x 3 tokens, which stand for thirteen frames; with pads and presence."""
    random = torch.Generator().manual_seed(seed)
    like = example_recording(presence=True)
    scores = 30 * torch.randn(like.scores.shape, generator=random)
    return replace(
        like,
        scores=scores,
        pad_scores=scores[..., 0, :] + 1,
        pad_count=5,
        presence=torch.randn(like.scores.shape, generator=random).half(),
        grid=(4, 2, 3),
        image_size=(32, 48),
        frame_counts=(1, 4, 4, 4),
    )


@pytest.mark.parametrize("half", [False, True])
@pytest.mark.parametrize(("start", "count"), [(0, 4), (1, 3), (0, 2), (3, 1)])
def test_heatmaps_of_a_part_are_the_part_of_the_heatmaps(start: int, count: int, half: bool) -> None:
    whole = in_float16(video()) if half else video()
    part = cut_frames(whole, start, count, 4)
    kinds: tuple[Kind, ...] = ("share", "presence")
    for kind in kinds:
        expected = make_heatmaps(whole, kind=kind).values[:, :, start : start + count]
        assert torch.allclose(make_heatmaps(part, kind=kind).values, expected, rtol=0, atol=1e-6)
    assert make_heatmaps(part).frames == (0, *(index for index in range(1, count) for _ in range(4)))


def test_frames_that_share_tokens_are_refused() -> None:
    with pytest.raises(UserError, match="7 latent frames share 4 frames of tokens"):
        cut_frames(video(), 1, 2, 7)
