"""Settings for concepts with random embeddings that fit the tiny models."""

from __future__ import annotations

from typing import Any

import torch

from concept_attention.concepts import Concept
from concept_attention.hosts.comfyui.engine.settings import Settings
from concept_attention.hosts.encoded import EncodedConcepts

from .tiny import TEXT_WIDTH, make_cond

CONCEPTS = ("house", "tree", "sky")


def make_settings(
    names: tuple[str, ...] = CONCEPTS, seed: int = 4, width: int = TEXT_WIDTH, **options: Any
) -> Settings:
    """Settings for concepts with embeddings of this seed; for `options` see `Settings`."""
    generator = torch.Generator().manual_seed(seed)
    encoded = EncodedConcepts(
        concepts=tuple(Concept(name, name) for name in names),
        embeddings=torch.randn(len(names), width, generator=generator),
        token_counts=(1,) * len(names),
        pooling="auto",
        empty_conditioning=make_cond(tokens=4, seed=7),
    )
    return Settings(encoded, **options)
