"""Geometry of a run: the tokens of odd latents cover more than the image, and sigmas become noise levels."""

from __future__ import annotations

import math
from typing import Any

import comfy.model_sampling
import pytest

from concept_attention.hosts.architecture import Architecture
from concept_attention.hosts.comfyui.engine.geometry import RunGeometry, measure_geometry, noise_level


def architecture(frame_patch: int, patch: int, frames_per_latent: int = 0) -> Architecture:
    return Architecture("any", 1, 8, patch, (0,), frame_patch, frames_per_latent)


@pytest.mark.parametrize(
    "size, shape, pixels, geometry",
    [
        ((3, 1, 12, 8), (1, 2), 8, RunGeometry((1, 6, 4), (96, 64), None, None)),
        ((1, 1, 13, 9), (1, 2), 8, RunGeometry((1, 7, 5), (104, 72), (112, 80), None)),
        ((1, 1, 12, 9), (1, 2), 8, RunGeometry((1, 6, 5), (96, 72), (96, 80), None)),
        ((1, 5, 6, 4), (1, 1), 16, RunGeometry((5, 6, 4), (96, 64), None, None)),
        ((1, 5, 32, 40), (2, 16), 1, RunGeometry((3, 2, 3), (32, 40), (32, 48), None)),
    ],
)
def test_a_patch_that_is_not_full_is_a_token_that_covers_more(
    size: Any, shape: Any, pixels: int, geometry: RunGeometry
) -> None:
    assert measure_geometry(size, architecture(*shape), pixels) == geometry


@pytest.mark.parametrize(
    "latent_frames, frame_patch, frames_per_latent, counts",
    [
        (13, 1, 4, (1, *[4] * 12)),
        (4, 1, 6, (1, 6, 6, 6)),
        (1, 1, 4, None),
        (3, 1, 1, None),
        (3, 1, 0, None),
        (4, 2, 4, (5, 8)),
        (5, 2, 4, (5, 8, 4)),
        (2, 2, 4, (5,)),
        (1, 2, 4, None),
    ],
)
def test_tokens_stand_for_the_frames_that_a_causal_vae_gives_them(
    latent_frames: int, frame_patch: int, frames_per_latent: int, counts: tuple[int, ...] | None
) -> None:
    found = measure_geometry((1, latent_frames, 8, 8), architecture(frame_patch, 2, frames_per_latent), 8)
    assert found.frame_counts == counts
    if counts:
        assert sum(counts) == (latent_frames - 1) * frames_per_latent + 1


@pytest.mark.parametrize(
    "kind, sigma, level",
    [
        (comfy.model_sampling.CONST, 0.7, 0.7),
        (comfy.model_sampling.CONST, 1.0000001, 1.0),
        (comfy.model_sampling.COSMOS_RFLOW, 3.0, 0.75),
        (comfy.model_sampling.EPS, 0.75, 0.6),
        (comfy.model_sampling.V_PREDICTION, 0.0, 0.0),
        (comfy.model_sampling.EPS, math.inf, 1.0),
    ],
)
def test_sigmas_become_noise_levels(kind: Any, sigma: float, level: float) -> None:
    assert noise_level(kind(), sigma) == pytest.approx(level)
