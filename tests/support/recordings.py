"""Recordings of random scores, and what heatmaps of them must hold, computed with loops."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from concept_attention.concepts import Concept, parse_concepts
from concept_attention.recording.recording import Recording

MODE_NAMES = ("paper", "flux", "flux2", "sd3", "cogvideox")
NAMES = ("sky", "house", "tree", "lake")


def make_recording(
    mode: str = "flux",
    grid: tuple[int, int, int] = (1, 3, 5),
    concepts: int = 3,
    batch: int = 2,
    steps: int = 3,
    layers: tuple[int, ...] = (2, 5, 6, 7),
    default_layers: tuple[int, ...] = (6, 7),
    seed: int = 0,
    dtype: torch.dtype = torch.float32,
    names: Sequence[str] = NAMES,
) -> Recording:
    """Random scores, spread so that the mode's shares vary; 8 joint blocks or as many as `layers` needs."""
    generator = torch.Generator().manual_seed(seed)
    tokens = math.prod(grid)
    spread = {"paper": 1.0, "flux2": 2000.0, "sd3": 20.0}.get(mode, 3.0)
    scores = spread * torch.randn(steps, len(layers), batch, concepts, tokens, generator=generator)
    pads = torch.randn(steps, len(layers), batch, tokens, generator=generator)
    return Recording(
        scores=scores.to(dtype),
        norms=1 + 9 * torch.rand(steps, len(layers), batch, concepts, generator=generator),
        layers=layers,
        layer_count=max(8, layers[-1] + 1),
        default_layers=default_layers,
        steps=tuple(range(4, 4 + steps)),
        sigmas=tuple(1 - step / max(10, steps) for step in range(steps)),
        grid=grid,
        image_size=(16 * grid[1], 16 * grid[2]),
        architecture=mode if mode != "paper" else "flux",
        mode=mode,
        concepts=tuple(Concept(name, name) for name in names[:concepts]),
        pad_scores=pads.to(dtype) if mode == "cogvideox" else None,
        pad_count=226 - concepts if mode == "cogvideox" else 0,
    )


def naive_softmax(logits: Sequence[float]) -> list[float]:
    top = max(logits)
    weights = [math.exp(logit - top) for logit in logits]
    return [weight / sum(weights) for weight in weights]


def naive_shares(
    recording: Recording, mode: str, steps: Sequence[int], layers: Sequence[int], temperature: float
) -> Tensor:
    """Shares (B, C, T, H, W), one token at a time; `layers` are positions on the recording's layer axis."""
    _, _, batch, concepts, tokens = recording.scores.shape
    result = torch.zeros(batch, concepts, tokens)
    for b in range(batch):
        for n in range(tokens):
            shares, means = [0.0] * concepts, [0.0] * concepts
            for s in steps:
                for ell in layers:
                    scores = recording.scores[s, ell, b, :, n].tolist()
                    if mode == "sd3":
                        norms = recording.norms[s, ell, b].tolist()
                        scores = [score / norm for score, norm in zip(scores, norms, strict=True)]
                    logits = [score / temperature for score in scores]
                    if mode == "cogvideox":
                        assert recording.pad_scores is not None
                        pad = float(recording.pad_scores[s, ell, b, n]) / temperature
                        logits += [pad] * recording.pad_count
                    softmax = naive_softmax(logits)
                    count = len(steps) * len(layers)
                    for c in range(concepts):
                        shares[c] += softmax[c] / count
                        means[c] += scores[c] / count
            if mode == "flux2":
                shares = naive_softmax([mean / temperature for mean in means])
            result[b, :, n] = torch.tensor(shares)
    return result.reshape(batch, concepts, *recording.grid)


def small_recording(**changes: Any) -> Recording:
    """2 steps, layers 1 and 3 of 4, a batch of 2, 3 concepts, 2 x 3 tokens of 16 pixels."""
    generator = torch.Generator().manual_seed(0)
    fields: dict[str, Any] = {
        "scores": torch.randn(2, 2, 2, 3, 6, generator=generator),
        "norms": torch.rand(2, 2, 2, 3, generator=generator),
        "layers": (1, 3),
        "layer_count": 4,
        "default_layers": (2, 3),
        "steps": (0, 4),
        "sigmas": (1.0, 0.25),
        "grid": (1, 2, 3),
        "image_size": (32, 48),
        "architecture": "flux",
        "mode": "flux",
        "concepts": parse_concepts("sky, house: red house", "grass"),
        "metadata": {"prompt": "a red house"},
    }
    return Recording(**{**fields, **changes})
