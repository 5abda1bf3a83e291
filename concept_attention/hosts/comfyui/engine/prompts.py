"""Positive prompts in an evaluation of the model: which they are, and the region of the latent each applies to.

Follows `get_area_and_mult`, `finalize_default_conds` and `_calc_cond_batch` of comfy/samplers.py (0.19 to 0.33).
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import comfy.samplers
import torch
from torch import Tensor

from ..guard import NotRecordable
from .regions import LatentIndices, Region

# Axis of a region's (B, T, H, W) for each axis of a latent (B, C, H, W) or (B, C, T, H, W).
_REGION_AXES = {4: {0: 0, 2: 2, 3: 3}, 5: {0: 0, 2: 1, 3: 2, 4: 3}}

Conds = Sequence[Mapping[str, Any]]  # the prompts of one kind, as a guider holds them


class UnknownRegion(NotRecordable):
    """The region of a part of the latent cannot be determined."""


def image_part(x: Tensor, shapes: Sequence[Sequence[int]]) -> Tensor:
    """The image or video in a latent; ComfyUI packs several, such as video and sound, into one, (B, 1, numbers).

    Args:
        x: the latent that is evaluated.
        shapes: of the latents that are packed, the image or video first; nothing is packed if there is at most one.

    Raises:
        UnknownRegion: if it is only a part of the packed latents.
    """
    if len(shapes) < 2:
        return x
    counts = [math.prod(shape[1:]) for shape in shapes]
    if x.shape[-1] != sum(counts):
        raise UnknownRegion("context windows over a video with sound are not supported")
    return x[:, :, : counts[0]].reshape(x.shape[0], *shapes[0][1:])


def latent_size(x: Tensor) -> tuple[int, int, int, int]:
    """(B, T, H, W) of a latent (B, C, H, W) or (B, C, T, H, W), in latent pixels.

    Raises:
        UnknownRegion: if it has another number of dimensions.
    """
    if x.ndim not in (4, 5):
        raise UnknownRegion(f"latents of shape {tuple(x.shape)} are neither images nor videos")
    batch, _, *frames, rows, columns = x.shape
    return batch, frames[0] if frames else 1, rows, columns


def find_positive(conds: Sequence[Conds | None], guider_conds: Mapping[str, Conds]) -> int | None:
    """Index of the positive list among the evaluated lists of prompts; None if it is not among them.

    Context windows pass rebuilt lists, or some of the prompts: those are recognised by their ids.
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


def covered_indices(x: Tensor, whole: tuple[int, int, int, int], window: Any) -> LatentIndices:
    """Indices of a latent in the whole latent: all of it, or a context window.

    Args:
        x: the latent that is evaluated.
        whole: (B, T, H, W) of the whole latent.
        window: of comfy.context_windows, or None.

    Raises:
        UnknownRegion: if the sizes do not fit together, or the window's kind is not supported.
    """
    indices: list[Sequence[int]] = [range(size) for size in whole]
    if window is not None:
        axes = _REGION_AXES[x.ndim]
        if window.dim not in axes:
            raise UnknownRegion(f"context windows over axis {window.dim} of the latent are not supported")
        anchor = anchor_of(window)
        if anchor in window.index_list:
            raise UnknownRegion(f"a context window contains frame {anchor} twice")
        indices[axes[window.dim]] = [*([] if anchor is None else [anchor]), *map(int, window.index_list)]
    if latent_size(x) != tuple(map(len, indices)):
        raise UnknownRegion(f"a part of size {latent_size(x)} does not say where it lies in the latent of size {whole}")
    batch, frames, rows, columns = indices
    return batch, frames, rows, columns


def anchor_of(window: Any) -> int | None:
    """Index of the frame that `causal_window_fix` puts before a context window; its output is thrown away."""
    anchor = getattr(window, "causal_anchor_index", None)
    return None if anchor is None or anchor < 0 else int(anchor)


def without_anchor(region: Region, window: Any, dimensions: int) -> Region:
    """A region of a context window, without weight in the window's anchor frame.

    Args:
        region: of a latent with `dimensions` dimensions.
        window: see `covered_indices`.
    """
    anchor = None if window is None else anchor_of(window)
    axis = 0 if anchor is None else _REGION_AXES[dimensions][window.dim]
    if anchor is None or region.indices[axis][0] != anchor:
        return region
    weight = torch.as_tensor(region.weight, dtype=torch.float32).expand(region.size).clone()
    weight.select(axis, 0).zero_()
    return Region(region.indices, weight)


def prompt_regions(prompts: Conds, x: Tensor, timestep: Tensor, indices: LatentIndices) -> list[tuple[Any, Region]]:
    """Ids of the prompts that are evaluated at this timestep, each with its region.

    Args:
        prompts: the positive ones.
        x: the latent that is evaluated, (B, C, ..., H, W).
        timestep: sigma of every image, (B,).
        indices: of `x` in the whole latent.
    """
    evaluated = []
    for prompt in prompts:
        area = comfy.samplers.get_area_and_mult(prompt, x, timestep)
        if area is not None:
            evaluated.append((prompt, area))
    explicit = [(prompt, area) for prompt, area in evaluated if "default" not in prompt]
    regions = [(prompt["uuid"], _region_of(prompt, area, indices)) for prompt, area in explicit]
    defaults = [prompt["uuid"] for prompt, _ in evaluated if "default" in prompt]
    rest = _uncovered(x, [area for _, area in explicit]) if defaults else None
    if rest is not None and bool(rest.any()):
        regions += [(uuid, Region(indices, rest)) for uuid in defaults]
    return regions


def _region_of(prompt: Mapping[str, Any], area: Any, indices: LatentIndices) -> Region:
    if area.area is None and "mask" not in prompt:
        return Region(indices, float(prompt.get("strength", 1.0)))
    weight = _one_channel(area.mult)
    if area.area is not None:
        count = len(area.area) // 2
        box = zip(area.area[count:], area.area[:count], strict=True)
        spans = [(0, len(indices[0])), *([(0, 1)] * (3 - count)), *box]
        batch, frames, rows, columns = (
            [axis[start + offset] for offset in range(length)]
            for axis, (start, length) in zip(indices, spans, strict=True)
        )
        indices = batch, frames, rows, columns
    return Region(indices, weight)


def _uncovered(x: Tensor, areas: Iterable[Any]) -> Tensor:
    """The weight of default prompts, (B, T, H, W): what the others leave of 1."""
    rest = torch.ones_like(x)
    for area in areas:
        view = rest
        count = len(area.area) // 2 if area.area is not None else 0
        for axis in range(count):
            view = view.narrow(axis + 2, area.area[count + axis], area.area[axis])
        view -= area.mult
    return _one_channel(rest).clamp(min=0)


def _one_channel(mult: Tensor) -> Tensor:
    """Weights (B, C, ..., H, W), the same in every channel, as (B, T, H, W) in float32."""
    weight = mult[:, 0].float()
    return weight if weight.ndim == 4 else weight[:, None]
