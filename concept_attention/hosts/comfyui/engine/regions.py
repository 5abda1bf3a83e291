"""The whole picture's scores of one evaluation, put together from the parts that the prompts cover.

ComfyUI evaluates the model once per prompt, each on the area its conditioning names, and averages the outputs with
the weights that strengths, masks and faded borders give them. Scores are averaged in the same way: per latent cell,
then over the cells of a token.
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
    """Where the outcome of one evaluation belongs, and how much it counts there.

    Attributes:
        cells: positions in the whole latent: pictures of the batch, frames, rows, columns.
        weight: one for all cells, or one for each, (B, T, H, W); negative ones count as 0.
    """

    cells: LatentIndices
    weight: float | Tensor = 1.0

    @property
    def size(self) -> tuple[int, int, int, int]:
        """(B, T, H, W) in cells."""
        batch, frames, rows, columns = map(len, self.cells)
        return batch, frames, rows, columns


def latent_to_tokens(size: Sequence[int], patch: Sequence[int]) -> tuple[int, int, int]:
    """Tokens (T, H, W) of a latent of `size` (T, H, W) cells; a patch that is not full is a token."""
    frames, rows, columns = (math.ceil(cells / step) for cells, step in zip(size, patch, strict=True))
    return frames, rows, columns


@dataclass(eq=False)
class ScoreAccumulator:
    """The scores of one evaluation of the model, of all its prompts.

    Where no prompt counts for anything, every concept scores 0: none of them is any more there than the others. (The
    host's own output is 0 there as well.) Norms are averaged with the weight each prompt has in all.

    Args:
        size: of the whole latent, (B, T, H, W) in cells.
        patch: cells per token, (T, H, W).
    """

    size: tuple[int, int, int, int]
    patch: tuple[int, int, int]
    _places: list[Region] = field(default_factory=list, init=False)
    _scores: dict[tuple[int, int], LayerScores] = field(default_factory=dict, init=False)

    def expect(self, place: Region) -> int:
        """Announce a part; the number to `add` its scores under."""
        self._places.append(place)
        return len(self._places) - 1

    def add(self, part: int, layer: int, scores: LayerScores) -> None:
        """Take the scores of one joint block for a part that was announced: N are the part's own tokens."""
        self._scores[part, layer] = scores

    def finish(self) -> dict[int, LayerScores]:
        """Scores of the whole picture for every layer that all parts have delivered."""
        parts = range(len(self._places))
        layers = sorted({layer for _, layer in self._scores})
        complete = [layer for layer in layers if all((part, layer) in self._scores for part in parts)]
        if len(self._places) == 1 and self._is_whole(self._places[0]):
            return {layer: self._scores[0, layer] for layer in complete}
        return self._paste(complete) if complete else {}

    def _is_whole(self, place: Region) -> bool:
        whole = all(list(cells) == list(range(size)) for cells, size in zip(place.cells, self.size, strict=True))
        return whole and isinstance(place.weight, float) and place.weight > 0

    def _paste(self, layers: Sequence[int]) -> dict[int, LayerScores]:
        device = self._scores[0, layers[0]].scores.device
        weights = [_weights(place).to(device) for place in self._places]
        indices = [_index(place, device) for place in self._places]
        total = torch.zeros(self.size, device=device)
        for index, weight in zip(indices, weights, strict=True):
            total[index] += weight
        token_weight = self._sum_tokens(total[..., None])
        pasted = {}
        for layer in layers:
            parts = [self._scores[part, layer] for part in range(len(self._places))]
            columns = [_with_pads(part).to(device) for part in parts]
            sums = torch.zeros(*self.size, columns[0].shape[1], device=device)
            for place, index, weight, column in zip(self._places, indices, weights, columns, strict=True):
                sums[index] += self._spread(column, place) * weight[..., None]
            scores = _ratio(self._sum_tokens(sums), token_weight)
            pads = scores[:, -1] if parts[0].pads is not None else None
            scores = scores[:, : parts[0].scores.shape[1]]
            pasted[layer] = LayerScores(
                scores, self._mean_norms([part.norms.to(device) for part in parts], weights), pads
            )
        return pasted

    def _spread(self, columns: Tensor, place: Region) -> Tensor:
        """Scores of a part's tokens, (B, C, N), to its cells, (B, T, H, W, C)."""
        frames, rows, width = latent_to_tokens(place.size[1:], self.patch)
        cells = rearrange(columns, "b c (t h w) -> b t h w c", t=frames, h=rows, w=width)
        for axis, step in enumerate(self.patch, start=1):
            cells = cells.repeat_interleave(step, dim=axis)
        return cells[:, : place.size[1], : place.size[2], : place.size[3]]

    def _sum_tokens(self, cells: Tensor) -> Tensor:
        """Values of the cells, (B, T, H, W, C), summed over those of each token, (B, C, N)."""
        grid = latent_to_tokens(self.size[1:], self.patch)
        missing = [tokens * step - size for tokens, step, size in zip(grid, self.patch, self.size[1:], strict=True)]
        padded = F.pad(cells, (0, 0, 0, missing[2], 0, missing[1], 0, missing[0]))
        t, h, w = self.patch
        return reduce(padded, "b (t p) (h q) (w r) c -> b c (t h w)", "sum", p=t, q=h, r=w)

    def _mean_norms(self, norms: Sequence[Tensor], weights: Sequence[Tensor]) -> Tensor:
        """Norms (B, C) of the whole batch."""
        sums = torch.zeros(self.size[0], norms[0].shape[1], device=norms[0].device)
        total = torch.zeros(self.size[0], 1, device=norms[0].device)
        for place, norm, weight in zip(self._places, norms, weights, strict=True):
            batch = torch.as_tensor(place.cells[0], device=norm.device)
            share = weight.flatten(1).sum(dim=1, keepdim=True)
            sums[batch] += norm * share
            total[batch] += share
        return _ratio(sums, total)


def _weights(place: Region) -> Tensor:
    weight = torch.as_tensor(place.weight, dtype=torch.float32)
    return weight.clamp(min=0).expand(place.size)


def _index(place: Region, device: torch.device) -> tuple[Tensor, ...]:
    """What selects the place's cells from a whole latent (B, T, H, W, ...)."""
    axes = [torch.as_tensor(list(cells), device=device) for cells in place.cells]
    return tuple(torch.meshgrid(*axes, indexing="ij"))


def _with_pads(scores: LayerScores) -> Tensor:
    """Scores, and those of the pad token as one concept more, (B, C or C + 1, N)."""
    return scores.scores if scores.pads is None else torch.cat([scores.scores, scores.pads[:, None]], dim=1)


def _ratio(sums: Tensor, weights: Tensor) -> Tensor:
    """`sums / weights`, and 0 where nothing counts."""
    return torch.where(weights > 0, sums / weights.clamp(min=torch.finfo(torch.float32).tiny), 0.0)
