"""Sizes of the model and the image in the ComfyUI benchmarks."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

HEAD_DIM, TOKEN_PIXELS = 128, 16  # Flux 1's own

# The claims are about these.
SHAPES: Mapping[str, Mapping[str, Any]] = MappingProxyType(
    {
        "bench": {"width": 1024, "blocks": 8, "singles": 8, "text": 256, "steps": 4},
        "flux-dev": {"width": 3072, "blocks": 19, "singles": 38, "text": 512, "steps": 20},
    }
)


@dataclass(frozen=True)
class Sizes:
    """Sizes of the model, the image and the run.

    Attributes:
        shape: key of `SHAPES`; `flux-dev` has a guidance embedding, as Flux.1-dev.
        width: of the tokens inside the model, a multiple of 128, the width of one head.
        blocks: joint blocks.
        singles: single blocks.
        pixels: side of the image, a multiple of 16, the side of one token.
        text: prompt tokens.
        concepts: concept tokens.
        steps: sampler steps.
        device: cpu or cuda.
        dtype: name of a floating torch dtype.
    """

    shape: str
    width: int
    blocks: int
    singles: int
    pixels: int
    text: int
    concepts: int
    steps: int
    device: str
    dtype: str

    def __post_init__(self) -> None:
        for name, step in (("width", HEAD_DIM), ("pixels", TOKEN_PIXELS)):
            value = getattr(self, name)
            if value < step or value % step:
                raise ValueError(f"{name.capitalize()} must be a positive multiple of {step}, got {value}.")
        for name in ("blocks", "text", "concepts", "steps"):
            if getattr(self, name) < 1:
                raise ValueError(f"There must be at least one of {name}, got {getattr(self, name)}.")

    @property
    def tokens(self) -> int:
        """Image tokens."""
        return (self.pixels // TOKEN_PIXELS) ** 2
