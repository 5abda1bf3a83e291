"""Animations of concept maps, by the names of the authors' module."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor

from ..concepts import slugs
from ..drawing.colormaps import colorize
from ..drawing.legend import draw_caption
from ..drawing.lettering import make_label
from ..errors import UserError
from ..files import save_animation
from ..images import to_pil

_SIDE = 320  # pixels of the longer side of a map
_FONT = 16


def make_concept_attention_video(
    concepts: Sequence[str],
    concept_attention_maps: Tensor,
    save_path: str | os.PathLike[str],
    fps: float = 4,
    color_map: str = "inferno",
) -> None:
    """Write an animation of the maps of all concepts, side by side.

    Theirs is a figure of matplotlib, with axes around each map.

    Args:
        concepts: their names.
        concept_attention_maps: (C, T, rows, columns), any range; one scale for all.
        save_path: the file, in a format of `save_animation`.
        fps: frames per second.
        color_map: any colour map of matplotlib.

    Raises:
        UserError: for a number of maps that is not that of the concepts, an unknown colour map, and as
            `save_animation`.
    """
    maps = _checked(concepts, concept_attention_maps)
    low, high = float(maps.min()), float(maps.max())
    tiles = []
    for name, frames in zip(concepts, maps, strict=True):
        drawn = _drawn(frames, color_map, low, high)
        caption = draw_caption(make_label(name), drawn.shape[2], _FONT)
        tiles.append(torch.cat([caption.expand(len(drawn), -1, -1, -1), drawn], dim=1))
    save_animation([to_pil(frame) for frame in torch.cat(tiles, dim=2)], Path(save_path), fps)


def make_individual_videos(
    concepts: Sequence[str],
    concept_attention_maps: Tensor,
    save_dir: str | os.PathLike[str],
    fps: float = 4,
    color_map: str = "inferno",
) -> None:
    """Write an animation for each concept, `<concept>_attention_video.gif`, each with a scale of its own.

    Args:
        save_dir: an existing folder.
        concepts, concept_attention_maps, fps, color_map: see `make_concept_attention_video`.
    """
    maps = _checked(concepts, concept_attention_maps)
    for name, frames in zip(slugs(concepts), maps, strict=True):
        drawn = _drawn(frames, color_map, float(frames.min()), float(frames.max()))
        save_animation([to_pil(frame) for frame in drawn], Path(save_dir) / f"{name}_attention_video.gif", fps)


def _checked(concepts: Sequence[str], maps: Tensor) -> Tensor:
    if maps.ndim != 4 or len(maps) != len(concepts):
        raise UserError(
            f"Maps of {len(concepts)} concepts are (concepts, frames, rows, columns), got {tuple(maps.shape)}."
        )
    return maps.detach().float().cpu()


def _drawn(frames: Tensor, color_map: str, low: float, high: float) -> Tensor:
    """Maps (T, rows, columns) in colour, (T, height, width, 3): a token becomes a square of pixels."""
    pixels = max(1, _SIDE // max(frames.shape[1:]))
    coloured = torch.stack([colorize(frame, color_map, low, high) for frame in frames])
    return coloured.repeat_interleave(pixels, dim=1).repeat_interleave(pixels, dim=2)
