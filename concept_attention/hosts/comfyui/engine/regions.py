"""Scores of the whole latent for one evaluation of the model, averaged over the regions that its prompts cover.

ComfyUI evaluates the model once per prompt, each on the area its conditioning names, and averages the outputs with
the weights that strengths, masks and faded borders give them. Scores are averaged in the same way: per latent pixel,
then over the latent pixels of a token that have any weight.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
import torch.nn.functional as F
from einops import rearrange, reduce
from torch import Tensor

from ...collector import LayerScores

LatentIndices = tuple[Sequence[int], Sequence[int], Sequence[int], Sequence[int]]


@dataclass(frozen=True, eq=False)
class Region:
    """A part of the whole latent that the model was evaluated on, and its weight.

    Attributes:
        indices: of the region in the whole latent, along batch, latent frames, rows and columns.
        weight: one for all latent pixels, or one for each, (B, T, H, W); negative ones count as 0.
    """

    indices: LatentIndices
    weight: float | Tensor = 1.0

    @property
    def size(self) -> tuple[int, int, int, int]:
        """(B, T, H, W) in latent pixels."""
        batch, frames, rows, columns = map(len, self.indices)
        return batch, frames, rows, columns


def latent_to_tokens(size: Sequence[int], patch: Sequence[int]) -> tuple[int, int, int]:
    """Tokens (T, H, W) of a latent of `size` (T, H, W) latent pixels; a patch that is not full is a token."""
    frames, rows, columns = (math.ceil(pixels / step) for pixels, step in zip(size, patch, strict=True))
    return frames, rows, columns


@dataclass(eq=False)
class ScoreAccumulator:
    """The scores of one evaluation of the model with all its prompts.

    Every concept scores 0 where all weights are 0, so that none is favoured. (The host's own output is 0 there as
    well.) Norms are averaged with the total weight of each region.

    Args:
        size: of the whole latent, (B, T, H, W) in latent pixels.
        patch: latent pixels per token, (T, H, W).
    """

    size: tuple[int, int, int, int]
    patch: tuple[int, int, int]
    _regions: list[Region] = field(default_factory=list, init=False)
    _scores: dict[tuple[int, int], LayerScores] = field(default_factory=dict, init=False)

    def register(self, region: Region) -> int:
        """Announce a region; returns the number to `add` its scores under."""
        self._regions.append(region)
        return len(self._regions) - 1

    def add(self, number: int, layer: int, scores: LayerScores) -> None:
        """Take the scores of one joint block at the tokens of a registered region."""
        self._scores[number, layer] = scores

    def finish(self) -> dict[int, LayerScores]:
        """Scores of the whole latent for every layer that was added for all regions."""
        numbers = range(len(self._regions))
        layers = sorted({layer for _, layer in self._scores})
        complete = [layer for layer in layers if all((number, layer) in self._scores for number in numbers)]
        if len(self._regions) == 1 and self._is_whole(self._regions[0]):
            return {layer: self._scores[0, layer] for layer in complete}
        return self._paste(complete) if complete else {}

    def _is_whole(self, region: Region) -> bool:
        whole = all(list(axis) == list(range(size)) for axis, size in zip(region.indices, self.size, strict=True))
        return whole and isinstance(region.weight, float) and region.weight > 0

    def _paste(self, layers: Sequence[int]) -> dict[int, LayerScores]:
        device = self._scores[0, layers[0]].scores.device
        weights = [_weights(region).to(device) for region in self._regions]
        selectors = [_selector(region, device) for region in self._regions]
        total = torch.zeros(self.size, device=device)
        for selector, weight in zip(selectors, weights, strict=True):
            total[selector] += weight
        count = self._sum_tokens((total > 0).float()[..., None])
        pasted = {}
        for layer in layers:
            parts = [self._scores[number, layer] for number in range(len(self._regions))]
            columns = [_columns(part).to(device) for part in parts]
            sums = torch.zeros(*self.size, columns[0].shape[1], device=device)
            for region, selector, weight, column in zip(self._regions, selectors, weights, columns, strict=True):
                sums[selector] += self._spread(column, region) * weight[..., None]
            scores = _ratio(self._sum_tokens(_ratio(sums, total[..., None])), count)
            norms = self._mean_norms([part.norms.to(device) for part in parts], weights)
            pasted[layer] = _from_columns(scores, norms, parts[0])
        return pasted

    def _spread(self, columns: Tensor, region: Region) -> Tensor:
        """Scores of a region's tokens, (B, C, N), at its latent pixels, (B, T, H, W, C)."""
        frames, rows, width = latent_to_tokens(region.size[1:], self.patch)
        pixels = rearrange(columns, "b c (t h w) -> b t h w c", t=frames, h=rows, w=width)
        for axis, step in enumerate(self.patch, start=1):
            pixels = pixels.repeat_interleave(step, dim=axis)
        return pixels[:, : region.size[1], : region.size[2], : region.size[3]]

    def _sum_tokens(self, pixels: Tensor) -> Tensor:
        """Values of the latent pixels, (B, T, H, W, C), summed over those of each token, (B, C, N)."""
        grid = latent_to_tokens(self.size[1:], self.patch)
        missing = [tokens * step - size for tokens, step, size in zip(grid, self.patch, self.size[1:], strict=True)]
        padded = F.pad(pixels, (0, 0, 0, missing[2], 0, missing[1], 0, missing[0]))
        t, h, w = self.patch
        return reduce(padded, "b (t p) (h q) (w r) c -> b c (t h w)", "sum", p=t, q=h, r=w)

    def _mean_norms(self, norms: Sequence[Tensor], weights: Sequence[Tensor]) -> Tensor:
        """Norms (B, C) of the whole batch."""
        sums = torch.zeros(self.size[0], norms[0].shape[1], device=norms[0].device)
        total = torch.zeros(self.size[0], 1, device=norms[0].device)
        for region, norm, weight in zip(self._regions, norms, weights, strict=True):
            batch = torch.as_tensor(region.indices[0], device=norm.device)
            region_weight = weight.flatten(1).sum(dim=1, keepdim=True)
            sums[batch] += norm * region_weight
            total[batch] += region_weight
        return _ratio(sums, total)


def _weights(region: Region) -> Tensor:
    weight = torch.as_tensor(region.weight, dtype=torch.float32)
    return weight.clamp(min=0).expand(region.size)


def _selector(region: Region, device: torch.device) -> tuple[Tensor, ...]:
    """Index that selects the region from a whole latent (B, T, H, W, ...)."""
    axes = [torch.as_tensor(list(axis), device=device) for axis in region.indices]
    return tuple(torch.meshgrid(*axes, indexing="ij"))


def _columns(scores: LayerScores) -> Tensor:
    """Everything that a token has: scores, presence and the pad score, as far as there are any, (B, columns, N)."""
    pads = None if scores.pad_scores is None else scores.pad_scores[:, None]
    return torch.cat([part for part in (scores.scores, scores.presence, pads) if part is not None], dim=1)


def _from_columns(columns: Tensor, norms: Tensor, like: LayerScores) -> LayerScores:
    """The inverse of `_columns` for scores with the same parts as `like`."""
    count = like.scores.shape[1]
    pads = None if like.pad_scores is None else columns[:, -1]
    presence = None if like.presence is None else columns[:, count : 2 * count]
    return LayerScores(columns[:, :count], norms, pads, presence)


def _ratio(sums: Tensor, weights: Tensor) -> Tensor:
    """`sums / weights`, and 0 where the weight is 0."""
    return torch.where(weights > 0, sums / weights.clamp(min=torch.finfo(torch.float32).tiny), 0.0)
