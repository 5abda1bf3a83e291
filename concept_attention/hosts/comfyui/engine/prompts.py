"""Which evaluations of the model belong to the positive prompts, and where in the latent each of them counts.

Follows `get_area_and_mult`, `finalize_default_conds` and `_calc_cond_batch` of comfy/samplers.py (0.19 to 0.33).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import comfy.samplers
import torch
from torch import Tensor

from .regions import LatentIndices, Region

Conds = Sequence[Mapping[str, Any]]  # the prompts of one kind, as a guider holds them


class Unplaceable(Exception):
    """Some other pack splits the work in a way that cannot be followed; the text says which, for users to read."""


def latent_size(x: Tensor) -> tuple[int, int, int, int]:
    """(B, T, H, W) of a latent (B, C, H, W) or (B, C, T, H, W), in cells.

    Raises:
        Unplaceable: if it is neither.
    """
    if x.ndim not in (4, 5):
        raise Unplaceable(f"latents of shape {tuple(x.shape)} are neither pictures nor videos")
    batch, _, *frames, rows, columns = x.shape
    return batch, frames[0] if frames else 1, rows, columns


def find_positive(conds: Sequence[Conds | None], guider_conds: Mapping[str, Conds]) -> int | None:
    """Which of the lists that are evaluated is the positive one; None if it is not among them.

    Context windows hand over rebuilt lists, or some of the prompts: they are known by their ids.
    """
    positive = guider_conds.get("positive")
    if not positive:
        return None
    for index, prompts in enumerate(conds):
        if prompts is positive:
            return index
    ids = {prompt.get("uuid") for prompt in positive}
    for index, prompts in enumerate(conds):
        if prompts and all(prompt.get("uuid") in ids for prompt in prompts):
            return index
    return None


def covered_latent_pixels(x: Tensor, whole: tuple[int, int, int, int], window: Any) -> LatentIndices:
    """Where a latent lies in the whole one: all of it, or a context window.

    Args:
        x: the latent at hand.
        whole: (B, T, H, W) of the whole one.
        window: of comfy.context_windows, or None.

    Raises:
        Unplaceable: if they do not fit each other.
    """
    cells: list[Sequence[int]] = [range(size) for size in whole]
    if window is not None:
        axes = {0: 0, 2: 2, 3: 3} if x.ndim == 4 else {0: 0, 2: 1, 3: 2, 4: 3}
        if window.dim not in axes:
            raise Unplaceable(f"context windows over axis {window.dim} of the latent cannot be followed")
        if getattr(window, "causal_anchor_index", None) is not None:
            raise Unplaceable("context windows with an anchor frame cannot be followed: turn causal_window_fix off")
        cells[axes[window.dim]] = [int(index) for index in window.index_list]
    if latent_size(x) != tuple(map(len, cells)):
        raise Unplaceable(f"a part of size {latent_size(x)} does not say where it lies in the latent of size {whole}")
    batch, frames, rows, columns = cells
    return batch, frames, rows, columns


def place_prompts(prompts: Conds, x: Tensor, timestep: Tensor, cells: LatentIndices) -> list[tuple[Any, Region]]:
    """The prompts that are evaluated at this timestep: their ids, and where and how much each counts.

    Args:
        prompts: the positive ones.
        x: the latent at hand, (B, C, ..., H, W).
        timestep: sigma of every picture, (B,).
        cells: where `x` lies in the whole latent.
    """
    found = []
    for prompt in prompts:
        part = comfy.samplers.get_area_and_mult(prompt, x, timestep)
        if part is not None:
            found.append((prompt, part))
    named = [(prompt, part) for prompt, part in found if "default" not in prompt]
    placed = [(prompt["uuid"], _place(prompt, part, cells)) for prompt, part in named]
    defaults = [prompt["uuid"] for prompt, _ in found if "default" in prompt]
    rest = _uncovered(x, [part for _, part in named]) if defaults else None
    if rest is not None and bool(rest.any()):
        placed += [(uuid, Region(cells, rest)) for uuid in defaults]
    return placed


def _place(prompt: Mapping[str, Any], part: Any, cells: LatentIndices) -> Region:
    if part.area is None and "mask" not in prompt:
        return Region(cells, float(prompt.get("strength", 1.0)))
    weight = _one_channel(part.mult)
    if part.area is not None:
        count = len(part.area) // 2
        spans = [(0, len(cells[0])), *([(0, 1)] * (3 - count)), *zip(part.area[count:], part.area[:count], strict=True)]
        batch, frames, rows, columns = (
            [axis[start + offset] for offset in range(length)]
            for axis, (start, length) in zip(cells, spans, strict=True)
        )
        cells = batch, frames, rows, columns
    return Region(cells, weight)


def _uncovered(x: Tensor, parts: Iterable[Any]) -> Tensor:
    """The weight of default prompts, (B, T, H, W): what the others leave of 1."""
    rest = torch.ones_like(x)
    for part in parts:
        view = rest
        count = len(part.area) // 2 if part.area is not None else 0
        for axis in range(count):
            view = view.narrow(axis + 2, part.area[count + axis], part.area[axis])
        view -= part.mult
    return _one_channel(rest).clamp(min=0)


def _one_channel(mult: Tensor) -> Tensor:
    """Weights (B, C, ..., H, W), the same in every channel, as (B, T, H, W) in float32."""
    weight = mult[:, 0].float()
    return weight if weight.ndim == 4 else weight[:, None]
