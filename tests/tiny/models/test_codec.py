"""The linear latent space: what it is and what it keeps."""

from __future__ import annotations

import numpy as np
import pytest

from concept_attention.tiny.models.codec import CHANNELS, LARGEST_STD, LinearCodec, fit_codec
from concept_attention.tiny.world.scenes import draw_scene


@pytest.fixture(scope="module")
def images() -> np.ndarray:
    return np.stack([draw_scene(seed, 96, 64).image for seed in range(24)])


@pytest.fixture(scope="module")
def codec(images: np.ndarray) -> LinearCodec:
    return fit_codec(images)


def test_encoding_is_the_projection_of_each_8x8_patch(codec: LinearCodec, images: np.ndarray) -> None:
    latents = codec.encode(images[:2])
    assert latents.shape == (2, CHANNELS, 8, 12)
    patch = images[1, 16:24, 40:48].astype(np.float64).reshape(-1) / 127.5 - 1  # row 2, column 5
    expected = ((patch - codec.mean) @ codec.basis) * codec.scale
    np.testing.assert_allclose(latents[1, :, 2, 5], expected, atol=1e-5)


def test_decoding_keeps_nearly_all_of_the_variance(codec: LinearCodec, images: np.ndarray) -> None:
    unseen = np.stack([draw_scene(seed, 96, 64).image for seed in range(1000, 1012)])
    decoded = codec.decode(codec.encode(unseen)).astype(float)
    assert 1 - ((decoded - unseen) ** 2).mean() / unseen.astype(float).var() > 0.95


def test_strong_components_stay_strong_and_weak_ones_weak(codec: LinearCodec, images: np.ndarray) -> None:
    spread = codec.encode(images).std((0, 2, 3))
    assert spread[0] == pytest.approx(LARGEST_STD, rel=0.05)
    assert spread[-1] < 0.5 * spread[0]


def test_basis_is_orthonormal(codec: LinearCodec) -> None:
    np.testing.assert_allclose(codec.basis.T @ codec.basis, np.eye(CHANNELS), atol=1e-5)
