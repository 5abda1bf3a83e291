"""How far apart two colours look, with normal and with colour-blind vision."""

from __future__ import annotations

import numpy as np

# Machado, Oliveira and Fernandes (2009), severity 1: linear RGB as seen normally and without one kind of cone.
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


def least_distance(one: str, other: str) -> float:
    """Oklab distance of two `#rrggbb` colours, in the vision that tells them apart least."""
    return float(np.linalg.norm(_oklab(one) - _oklab(other), axis=-1).min())


def _oklab(code: str) -> np.ndarray:
    """Oklab coordinates (4 visions, 3) of an sRGB colour."""
    colour = np.array([int(code[i : i + 2], 16) / 255 for i in (1, 3, 5)])
    linear = np.where(colour <= 0.04045, colour / 12.92, ((colour + 0.055) / 1.055) ** 2.4)
    return np.cbrt((_VISIONS @ linear).clip(0, 1) @ _TO_CONES.T) @ _TO_LAB.T
