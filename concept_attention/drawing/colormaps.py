"""Colours: continuous maps for heatmaps, distinct colours for concepts."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
import torch
from torch import Tensor

# Okabe and Ito's palette for colour-blind readers, without its black, which vanishes on dark pictures.
OKABE_ITO = ("#E69F00", "#56B4E9", "#009E73", "#F0E442", "#0072B2", "#D55E00", "#CC79A7")

# Machado, Oliveira and Fernandes (2009), severity 1: how linear RGB looks without one kind of cone.
_VISIONS = np.array(
    [
        [[1, 0, 0], [0, 1, 0], [0, 0, 1]],
        [[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216], [-0.003882, -0.048116, 1.051998]],
        [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.011820, 0.042940, 0.968881]],
        [[1.255528, -0.076749, -0.178779], [-0.078411, 0.930809, 0.147602], [0.004733, 0.691367, 0.303900]],
    ]
)
# Ottosson's Oklab: linear RGB -> cone responses -> (cube root) -> lightness and two colour axes.
_TO_CONES = np.array(
    [
        [0.4122214708, 0.5363325363, 0.0514459929],
        [0.2119034982, 0.6806995451, 0.1073969566],
        [0.0883024619, 0.2817188376, 0.6299787005],
    ]
)
_TO_LAB = np.array(
    [
        [0.2104542553, 0.7936177850, -0.0040720468],
        [1.9779984951, -2.4285922050, 0.4505937099],
        [0.0259040371, 0.7827717662, -0.8086757660],
    ]
)


def colorize(values: Tensor, colormap: str = "viridis", vmin: float = 0.0, vmax: float = 1.0) -> Tensor:
    """Draw a map in colour.

    Args:
        values: (H, W) float, finite.
        colormap: any name matplotlib knows; viridis is perceptually uniform and colour-blind-safe.
        vmin: value drawn in the map's first colour; anything below is drawn the same.
        vmax: value drawn in its last colour. With vmin == vmax everything is drawn in the first.

    Returns:
        (H, W, 3) float32, 0-1. The map has 256 levels.

    Raises:
        ValueError: another shape, values that are not finite, vmin > vmax, or an unknown colormap.
    """
    import matplotlib  # slow to import, and only drawing needs it

    if values.ndim != 2:
        raise ValueError(f"Only one (height, width) map can be drawn in colour, got {tuple(values.shape)}.")
    values = values.detach().to("cpu", torch.float32)
    if not torch.isfinite(values).all():
        raise ValueError("A map to draw must hold finite numbers, got NaN or infinity.")
    if not vmin <= vmax:
        raise ValueError(f"vmin must not exceed vmax, got vmin {vmin:g} and vmax {vmax:g}.")
    check_colormap(colormap)
    scaled = (values - vmin) / (vmax - vmin) if vmax > vmin else torch.zeros_like(values)
    rgba = matplotlib.colormaps[colormap](scaled.clamp(0, 1).numpy())
    return torch.from_numpy(rgba[..., :3].astype(np.float32))


def check_colormap(colormap: str) -> None:
    """Refuse a colour map that matplotlib does not know."""
    import matplotlib

    if colormap not in matplotlib.colormaps:
        raise ValueError(
            f"Unknown colour map {colormap!r}. Use viridis, cividis, magma, inferno, plasma, gray, turbo "
            "or another of matplotlib's."
        )


def concept_colors(count: int) -> Tensor:
    """Distinct colours for any number of concepts, safe for colour-blind readers as far as colours can be.

    The first seven are Okabe and Ito's. Each further one lies as far as possible from all before it, in the
    worst of four kinds of vision, so the first colours never depend on `count`.

    Args:
        count: how many, 0-1000.

    Returns:
        (count, 3) float32, 0-1.

    Raises:
        ValueError: a count outside 0-1000.
    """
    if not 0 <= count <= 1000:
        raise ValueError(f"Colours can be made for 0 to 1000 concepts, got {count}.")
    return torch.tensor(_palette(count), dtype=torch.float32).reshape(count, 3)


@lru_cache(maxsize=32)
def _palette(count: int) -> tuple[tuple[float, float, float], ...]:
    known = np.array([[int(code[i : i + 2], 16) / 255 for i in (1, 3, 5)] for code in OKABE_ITO])
    chosen = list(known[:count])
    if count > len(known):
        levels = np.linspace(0, 1, 17)
        candidates = np.stack(np.meshgrid(levels, levels, levels, indexing="ij"), axis=-1).reshape(-1, 3)
        lightness, *axes = _seen(candidates)[0].T
        chroma = np.hypot(*axes)
        # nothing that could be mistaken for the picture's own black, grey or white
        candidates = candidates[(lightness > 0.3) & (lightness < 0.95) & (chroma > 0.06)]
        seen = _seen(candidates)
        distance = np.min([_distance(seen, colour) for colour in known], axis=0)
        while len(chosen) < count:
            chosen.append(candidates[np.argmax(distance)])
            distance = np.minimum(distance, _distance(seen, chosen[-1]))
    return tuple((float(red), float(green), float(blue)) for red, green, blue in chosen)


def _seen(colours: np.ndarray) -> np.ndarray:
    """Oklab coordinates (4 visions, n, 3) of sRGB colours (n, 3) in 0-1."""
    linear = np.where(colours <= 0.04045, colours / 12.92, ((colours + 0.055) / 1.055) ** 2.4)
    viewed = np.einsum("vij,nj->vni", _VISIONS, linear).clip(0, 1)
    return np.cbrt(viewed @ _TO_CONES.T) @ _TO_LAB.T


def _distance(seen: np.ndarray, colour: np.ndarray) -> np.ndarray:
    """(n,) Oklab distance of `seen` (4 visions, n, 3) from one sRGB colour, in the worst vision."""
    return np.linalg.norm(seen - _seen(colour[None]), axis=-1).min(axis=0)
