"""Where something acts: the settings that users give, and the mask that follows the maps of one run."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor

from ....choices import REGION_SHAPES, RegionShape, check_choice
from ....concepts import Concept, concept_index
from ....errors import UserError
from ....heatmaps.resize import gaussian_blur, resize_maps
from ..engine.geometry import RunGeometry
from ..engine.prompts import latent_size

# A soft mask rises between these shares. In the first half of a run shares are low, yet of what will be the thing nine
# tenths have more than the least, measured with the landscape model. A concept that wins nowhere is absent.
_LEAST_SHARE, _WINNING_SHARE = 0.2, 0.5
# Of a run, see benchmarks/regions.py: later the picture has its colours already, earlier it has no things yet.
START, FREEZE = 0.2, 0.8
_ROUNDING = 1e-6  # of a step
_LEAST = 1e-3  # of a run: the first step's map always counts

LatentSize = tuple[int, int, int, int]  # (B, T, H, W) in latent pixels


@dataclass(frozen=True)
class Place:
    """Where something acts, and from when on.

    Attributes:
        concepts: names of the concepts; with several, where any of them is.
        start: share of the run's steps (0-1) before which nothing acts.
        freeze: share of the run's steps (0-1) after which the mask stays as it is. What comes before `start` always
            counts.
        shape: `soft` follows the share, `hard` cuts it at one half.
        grow: pixels of the image by which the mask grows, or shrinks if negative.
        feather: pixels of the image over which its edge is blurred.
        strength: factor of the mask, 0-1.

    Raises:
        UserError: for numbers out of range, or another shape.
    """

    concepts: tuple[str, ...]
    start: float = START
    freeze: float = FREEZE
    shape: RegionShape = "soft"
    grow: float = 0.0
    feather: float = 0.0
    strength: float = 1.0

    def __post_init__(self) -> None:
        check_choice("shape", self.shape, REGION_SHAPES)
        for name in ("start", "freeze", "strength"):
            value = getattr(self, name)
            if not 0 <= value <= 1:
                raise UserError(f"{name} must lie in 0 to 1, got {value}.")
        if not (math.isfinite(self.grow) and math.isfinite(self.feather) and self.feather >= 0):
            raise UserError(f"grow and feather are pixels, feather 0 or more; got {self.grow} and {self.feather}.")

    @property
    def last_percent(self) -> float:
        """Share of the run (0-1] up to which maps count."""
        return max(self.start, self.freeze, _LEAST)

    def indices(self, concepts: Sequence[Concept]) -> tuple[int, ...]:
        """Positions of the concepts.

        Raises:
            UserError: if one is not there, or nothing is left for them to be compared with.
        """
        chosen = tuple(sorted({concept_index(concepts, name) for name in self.concepts}))
        if len(chosen) == len(concepts):
            names = ", ".join(self.concepts)
            raise UserError(
                f"Where {names} is shows only in comparison with something else. Give Encode Concepts what surrounds "
                "it as well, such as the background: sky, grass."
            )
        return chosen

    def first_step(self, steps: int) -> int:
        """The first step, 0-based, in which something acts."""
        return math.ceil(self.start * steps - _ROUNDING)

    def last_map(self, steps: int) -> int:
        """The last step, 0-based, whose map counts; there is at least one."""
        return max(1, math.ceil(self.last_percent * steps - _ROUNDING)) - 1


class LiveMask:
    """The mask of one place in one run.

    Args:
        place: where.
        concepts: those that are recorded.
        steps: of the run.

    Attributes:
        latest: (B, T, H, W) in latent pixels, 0-1, float32; None before the first map.

    Raises:
        UserError: see `Place.indices`.
    """

    def __init__(self, place: Place, concepts: Sequence[Concept], steps: int) -> None:
        self._place = place
        self._indices = list(place.indices(concepts))
        self._steps = steps
        self.latest: Tensor | None = None

    def needs(self, step: int) -> bool:
        """Whether the map of this step counts."""
        return self._place.strength > 0 and step <= self._place.last_map(self._steps)

    def take(self, step: int, shares: Tensor, geometry: RunGeometry, size: LatentSize) -> None:
        """Follow the map of one step.

        Args:
            step: 0-based.
            shares: (B, C, N), float32.
            geometry: of the run.
            size: of the latent.
        """
        if not self.needs(step):
            return
        self.latest = shape_mask(shares[:, self._indices].sum(dim=1), geometry, size, self._place)

    def at(self, step: int) -> Tensor | None:
        """The mask in a step; None where nothing acts."""
        if step < self._place.first_step(self._steps) or self.latest is None or not bool(self.latest.any()):
            return None
        return self.latest


def shape_mask(share: Tensor, geometry: RunGeometry, size: LatentSize, place: Place) -> Tensor:
    """A mask in latent pixels, (B, T, H, W), 0-1, from a share at the tokens, (B, N).

    It is exactly 0 outside and, but for the strength, exactly 1 inside.
    """
    batch, frames, rows, columns = size
    maps = rearrange(share, "b (t h w) -> b t h w", t=geometry.grid[0], h=geometry.grid[1])
    repeat = math.ceil(frames / geometry.grid[0])
    maps = maps.repeat_interleave(repeat, dim=1)[:, :frames]
    mask = resize_maps(maps, (rows, columns), geometry.visible)
    present = (maps.flatten(1).amax(dim=1) > _WINNING_SHARE).view(batch, 1, 1, 1)
    if place.shape == "hard":
        mask = (mask > _WINNING_SHARE).float()
    else:
        mask = ((mask - _LEAST_SHARE) / (_WINNING_SHARE - _LEAST_SHARE)).clamp(0, 1)
    pixel = geometry.image_size[0] / rows
    mask = _grow(mask, round(place.grow / pixel))
    mask = gaussian_blur(mask, place.feather / pixel / 2).clamp(0, 1)
    return mask * present * place.strength


def _grow(mask: Tensor, radius: int) -> Tensor:
    """A mask grown by a disc of so many latent pixels, or shrunk if that is negative."""
    if radius == 0:
        return mask
    reach = abs(radius)
    offsets = torch.arange(-reach, reach + 1, device=mask.device)
    disc = [(y, x) for y in offsets.tolist() for x in offsets.tolist() if y * y + x * x <= radius * radius]
    values = mask if radius > 0 else 1 - mask
    padded = F.pad(values, (reach,) * 4)
    rows, columns = mask.shape[-2:]
    grown = values
    for y, x in disc:
        grown = torch.maximum(grown, padded[..., reach + y : reach + y + rows, reach + x : reach + x + columns])
    return grown if radius > 0 else 1 - grown


def mask_at(mask: Tensor, x: Tensor) -> Tensor:
    """A mask (B, T, H, W) as a factor of a latent x, (B, 1, H, W) or (B, 1, T, H, W)."""
    latent_size(x)
    return mask.to(x) if x.ndim == 4 else mask.to(x)[:, None]


def per_token(mask: Tensor, patch: tuple[int, int, int]) -> Tensor:
    """A mask in latent pixels, (B, T, H, W), as its mean over each token, (B, N); what is beyond does not count."""
    padding = [-size % step for size, step in zip(mask.shape[1:], patch, strict=True)]
    pads = (0, padding[2], 0, padding[1], 0, padding[0])
    ones = F.avg_pool3d(F.pad(torch.ones_like(mask), pads)[:, None], patch)
    return rearrange(F.avg_pool3d(F.pad(mask, pads)[:, None], patch) / ones, "b 1 t h w -> b (t h w)")
