"""The device that work is done on, unless one is named."""

from __future__ import annotations

import torch


def pick_device(device: str) -> str:
    """The device that `auto` stands for: the first of cuda, mps and cpu that exists; other names stay."""
    if device != "auto":
        return device
    if torch.cuda.is_available():
        return "cuda"
    return "mps" if torch.backends.mps.is_available() else "cpu"
