"""The landscape model's latent space: principal components of 8x8 pixel patches.

16 components keep 99 % of a drawing's variance, so no learned latent space is needed: the diffusion models are trained
on these components, and the autoencoders that ship with them encode to exactly these and have learned to decode them.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import load_file, save_file

from ...files import atomic_write

PATCH = 8
CHANNELS = 16
CODEC = "codec.safetensors"
LARGEST_STD = 1.25
# Channel c's standard deviation becomes LARGEST_STD * (s_c / s_0) ** SPECTRUM. Whitening fully (0) makes the model
# spend its capacity on the noise-like fine components; leaving them as they are (1) loses the edges.
SPECTRUM = 0.4

Floats = NDArray[np.float32]


def _patches(images: NDArray[np.uint8]) -> Floats:
    """Images (..., H, W, 3), 0-255, to patches (..., H/8, W/8, 192) in [-1, 1]."""
    *batch, height, width, _ = images.shape
    tiles = images.reshape(*batch, height // PATCH, PATCH, width // PATCH, PATCH, 3).swapaxes(-3, -4)
    return tiles.reshape(*batch, height // PATCH, width // PATCH, -1).astype(np.float32) / 127.5 - 1


@dataclass(frozen=True)
class LinearCodec:
    """latent = (patch - mean) @ basis * scale, with mean (192,), orthonormal basis (192, 16) and scale (16,)."""

    mean: Floats
    basis: Floats
    scale: Floats

    def encode(self, images: NDArray[np.uint8]) -> Floats:
        """(..., H, W, 3) uint8 to latents (..., 16, H/8, W/8)."""
        latents = (_patches(images) - self.mean) @ (self.basis * self.scale)
        return np.moveaxis(latents, -1, -3)

    def decode(self, latents: Floats) -> NDArray[np.uint8]:
        """(B, 16, H/8, W/8) to images (B, H, W, 3) uint8."""
        batch, _, rows, columns = latents.shape
        patches = (latents.transpose(0, 2, 3, 1) / self.scale) @ self.basis.T + self.mean
        tiles = patches.reshape(batch, rows, columns, PATCH, PATCH, 3).transpose(0, 1, 3, 2, 4, 5)
        pixels = tiles.reshape(batch, rows * PATCH, columns * PATCH, 3)
        return ((pixels + 1) * 127.5).round().clip(0, 255).astype(np.uint8)


def fit_codec(images: NDArray[np.uint8]) -> LinearCodec:
    """Principal components of the patches of images (B, H, W, 3), 0-255."""
    patches = _patches(images).reshape(-1, PATCH * PATCH * 3)
    mean = patches.mean(0)
    variance, vectors = np.linalg.eigh(np.cov((patches - mean).T.astype(np.float64)))
    std = np.sqrt(variance[::-1][:CHANNELS])
    basis = vectors[:, ::-1][:, :CHANNELS]
    scale = LARGEST_STD * (std / std[0]) ** SPECTRUM / std
    return LinearCodec(mean, np.ascontiguousarray(basis, np.float32), scale.astype(np.float32))


def write_codec(codec: LinearCodec, path: Path) -> None:
    with atomic_write(path) as temporary:
        save_file({"mean": codec.mean, "basis": codec.basis, "scale": codec.scale}, temporary)


def read_codec(path: Path) -> LinearCodec:
    return LinearCodec(**load_file(path))
