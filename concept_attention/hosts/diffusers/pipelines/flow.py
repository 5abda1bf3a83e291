"""What all models of straight paths between picture and noise have in common."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from .request import Layout


def layout(pipeline: Any, width: int, height: int, frames: int) -> Layout:
    """The tokens of a picture of so many pixels, each of which covers 16 x 16.

    Raises:
        ValueError: for more than one frame.
    """
    if frames != 1:
        raise ValueError(f"This model makes pictures, not videos: {frames} frames are not possible. Leave them out.")
    return Layout((1, height // 16, width // 16))


def step_sigma(scheduler: Any, step: int, timestep: Any) -> float:
    """Noise level, 0-1, of a step of the run that a scheduler is in."""
    return float(scheduler.sigmas[step])


def noised(pipeline: Any, latents: Tensor, fresh: Tensor, noise: float) -> Tensor:
    """Latents with noise, as the model sees them at noise level `noise`, 0-1."""
    return noise * fresh + (1 - noise) * latents


def outputs(output: Any) -> list[Any]:
    """What a pipeline has made, a picture per prompt."""
    return output.images


def encode(pipeline: Any, pixels: Tensor) -> Tensor:
    """Pictures (B, 3, H, W), -1 to 1, to the VAE's latents (B, C, H / 8, W / 8): its mean is taken, not a sample."""
    vae = pipeline.vae
    encoded = vae.encode(pixels.to(pipeline._execution_device, vae.dtype))
    return encoded.latent_dist.mode() if hasattr(encoded, "latent_dist") else encoded.latents


def scaled(pipeline: Any, latents: Tensor) -> Tensor:
    """Latents of a VAE that has a shift and a scale, as the model takes them."""
    config = pipeline.vae.config
    return (latents - (config.shift_factor or 0.0)) * config.scaling_factor


def full(pipeline: Any, batch: int, value: float) -> Tensor:
    """A number for every picture, (B,), in the transformer's dtype."""
    return torch.full((batch,), value, device=pipeline._execution_device, dtype=pipeline.transformer.dtype)
