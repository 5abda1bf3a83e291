"""Masks that were painted in ComfyUI's mask editor, as a text on a node names them."""

from __future__ import annotations

from pathlib import Path

import folder_paths
from torch import Tensor

from ..concept_attention.errors import UserError
from ..concept_attention.heatmaps.resize import resize_maps
from ..concept_attention.images import load_transparency
from .folders import is_inside


def paint_over(masks: Tensor, text: str) -> Tensor:
    """Put edited masks in the place of others.

    Args:
        masks: (n, H, W), float, 0-1.
        text: one line for each edited mask: its position in `masks`, a colon, and a file of ComfyUI's input folder
            whose transparent pixels are the mask, as the mask editor saves it. Empty: none.

    Returns:
        (n, H, W); `masks` itself if there is no edited one.

    Raises:
        UserError: for a line that is no such pair, a position beyond the masks, or a file that is missing.
    """
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    if not lines:
        return masks
    painted = masks.clone()
    for line in lines:
        position, _, name = (part.strip() for part in line.partition(":"))
        if not (position.isdecimal() and name):
            raise UserError(f"`edited` has one `position: file` per line, got {line!r}. Correct it, or clear `edited`.")
        if int(position) >= len(masks):
            raise UserError(
                f"`edited` names mask {position}, but there are {len(masks)}, counted from 0. Clear `edited`, or edit "
                "the mask again."
            )
        mask = load_transparency(_find(name))
        painted[int(position)] = resize_maps(mask, (masks.shape[1], masks.shape[2])).clamp(0, 1)
    return painted


def _find(name: str) -> Path:
    """The path of a file named as ComfyUI's inputs name it: `name`, or `name [input]`."""
    bare, marked = folder_paths.annotated_filepath(name)
    folder = Path(marked or folder_paths.get_input_directory())
    path = folder / bare
    if not is_inside(path, folder) or not path.is_file():
        raise UserError(f"The edited mask {name!r} is not in ComfyUI's input folder. Clear `edited`, or edit it again.")
    return path
