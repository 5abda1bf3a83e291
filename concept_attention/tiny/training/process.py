"""Diffusion processes: how noise is mixed into latents, and what a model is to predict."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Process:
    """A diffusion process; sigma is its noise level, 0-1, of the latents' shape or one that broadcasts to it.

    Attributes:
        level: sigma at which noise is exp(z) times as strong as the remaining latents, given z.
        mix: noisy latents, given latents, noise and sigma.
        target: what the model is to predict, given the same.
    """

    level: Callable[[Tensor], Tensor]
    mix: Callable[[Tensor, Tensor, Tensor], Tensor]
    target: Callable[[Tensor, Tensor, Tensor], Tensor]


# Flow matching: the weights of noise and latents add up to one.
FLOW = Process(
    level=torch.sigmoid,
    mix=lambda latents, noise, sigma: torch.lerp(latents, noise, sigma),
    target=lambda latents, noise, sigma: noise - latents,
)

# CogVideoX: the squares of the weights add up to one, and the model predicts v. Source: arXiv:2202.00512, App. D.
VARIANCE_PRESERVING = Process(
    level=lambda z: torch.sigmoid(2 * z).sqrt(),
    mix=lambda latents, noise, sigma: sigma * noise + (1 - sigma**2).sqrt() * latents,
    target=lambda latents, noise, sigma: (1 - sigma**2).sqrt() * noise - sigma * latents,
)
