"""Seeded random weights for small models."""

from __future__ import annotations

import torch
from torch import nn


@torch.no_grad()
def fill_parameters(module: nn.Module, generator: torch.Generator, spread: float = 0.1) -> None:
    """Fill every parameter: matrices have unit gain, the scales of norms are near one, biases near zero.

    Such weights are large enough that every concept gets another map.

    Args:
        module: to fill; its parameters may be uninitialised.
        generator: source of the weights.
        spread: standard deviation of scales and biases.
    """
    for name, parameter in module.named_parameters():
        noise = torch.randn(parameter.shape, generator=generator)
        if parameter.ndim > 1:
            parameter.copy_(noise * parameter[0].numel() ** -0.5)
        else:
            parameter.copy_(spread * noise + (not name.endswith("bias")))
