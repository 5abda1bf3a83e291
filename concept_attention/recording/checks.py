"""Consistency checks of a recording, whether a host made it or a file claims it."""

from __future__ import annotations

import math
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, get_args

import torch
from torch import Tensor

from ..errors import UserError
from ..scores import MODES, Averaged

if TYPE_CHECKING:
    from .recording import Recording

# Far above any real model: what is made from a recording must not grow with an absurd number in a file.
_MAX_LAYERS = 10_000
_MAX_PADS = 1_000_000
_MAX_FRAMES_PER_TOKEN = 1024
# Of what a file may make us allocate. A photograph of 100 megapixels, seen by a model of 4 x 4 tokens, has 2^23 pixels
# per token; the heatmaps of a video in full size take 2^29 numbers.
_MAX_PIXELS_PER_TOKEN = 2**24
_MAX_NUMBERS = 2**31
_MAX_COVERED = 4  # times the image, in one direction: a token that ends far outside of it


def check_recording(recording: Recording) -> None:
    """Check every field against every other.

    Raises:
        UserError: if a score is not finite.
        ValueError: if the fields do not fit together.
    """
    _check_selection(recording)
    _check_geometry(recording)
    _check_texts(recording)
    _check_tensors(recording)
    _check_regions(recording)


def check_extent(recording: Recording) -> None:
    """Check that heatmaps and masks of the size that a file claims for its image can be made at all.

    Raises:
        ValueError: if a few bytes ask for gigabytes.
    """
    frames, rows, columns = recording.grid
    size = recording.covered_size or recording.image_size
    pixels = math.prod(size)
    if pixels > _MAX_PIXELS_PER_TOKEN * rows * columns:
        raise ValueError(f"{size} pixels are more than {_MAX_PIXELS_PER_TOKEN} for each token of {rows} x {columns}.")
    if any(whole > _MAX_COVERED * seen for whole, seen in zip(size, recording.image_size, strict=True)):
        raise ValueError(f"covered_size {size} is more than {_MAX_COVERED} times the image's {recording.image_size}.")
    shown = sum(recording.frame_counts or ())
    numbers = recording.batch * pixels * max(frames * len(recording.concepts), shown)
    if numbers > _MAX_NUMBERS:
        raise ValueError(f"at {size} pixels its heatmaps have {numbers} numbers, expected at most {_MAX_NUMBERS}.")


def _check_selection(recording: Recording) -> None:
    _check_integers("layer_count", (recording.layer_count,), 1, _MAX_LAYERS)
    for name in ("layers", "default_layers"):
        layers = getattr(recording, name)
        _check_integers(name, layers, 0, recording.layer_count - 1)
        if not layers or list(layers) != sorted(set(layers)):
            raise ValueError(f"{name} must be one or more in ascending order, each once, got {layers}.")
    _check_integers("steps", recording.steps, 0, sys.maxsize)
    sigmas = recording.sigmas
    if not all(isinstance(sigma, int | float) and 0 <= sigma <= 1 for sigma in sigmas):
        raise ValueError(f"sigmas must be numbers from 0 to 1, got {sigmas}.")
    if not 0 < len(recording.steps) == len(sigmas):
        raise ValueError(f"Every step needs one sigma, got {len(recording.steps)} and {len(sigmas)}.")
    if recording.averaged not in (None, *get_args(Averaged)) or (recording.averaged and len(sigmas) != 1):
        raise ValueError(
            f"averaged must be one of {', '.join(get_args(Averaged))}, with one step that is the mean, got "
            f"{recording.averaged!r} and {len(sigmas)} steps."
        )
    _check_integers("pad_count", (recording.pad_count,), 0, _MAX_PADS)
    if (recording.pad_scores is None) != (recording.pad_count == 0):
        raise ValueError(f"pad_scores and pad_count go together, got pad_count {recording.pad_count}.")


def _check_geometry(recording: Recording) -> None:
    grid, image_size = recording.grid, recording.image_size
    _check_integers("grid", grid, 1, sys.maxsize)
    _check_integers("image_size", image_size, 1, sys.maxsize)
    if len(grid) != 3 or len(image_size) != 2:
        raise ValueError(f"grid must be (T, H, W), image_size (height, width), got {grid} and {image_size}.")
    if recording.covered_size is not None:
        _check_covered(recording.covered_size, image_size, grid)
    if recording.frame_counts is not None:
        _check_integers("frame_counts", recording.frame_counts, 1, _MAX_FRAMES_PER_TOKEN)
        if len(recording.frame_counts) != grid[0]:
            raise ValueError(f"frame_counts must be one for each T of the grid {grid}, got {recording.frame_counts}.")


def _check_covered(covered: tuple[int, ...], image_size: tuple[int, int], grid: tuple[int, int, int]) -> None:
    """Every row and column of tokens must cover at least something of the image."""
    _check_integers("covered_size", covered, 1, sys.maxsize)
    fits = len(covered) == 2 and all(
        size <= whole and whole * (tokens - 1) < size * tokens
        for size, whole, tokens in zip(image_size, covered, grid[1:], strict=True)
    )
    if not fits:
        raise ValueError(
            f"covered_size must be at least the image's {image_size} and less than one token of the grid {grid} "
            f"more, got {covered}."
        )


def _check_texts(recording: Recording) -> None:
    for text in (recording.architecture, recording.mode, *recording.metadata, *recording.metadata.values()):
        if not isinstance(text, str):
            raise ValueError(f"architecture, mode and metadata must be texts, got {text!r}.")
    if recording.mode not in MODES:
        raise ValueError(f'mode must be one of {", ".join(MODES)}, got "{recording.mode}".')
    names = [concept.name for concept in recording.concepts]
    if not names or len({name.casefold() for name in names}) < len(names):
        raise ValueError(f"concepts must be one or more with different names, got {names}.")


def _check_tensors(recording: Recording) -> None:
    scores, norms, pads = recording.scores, recording.norms, recording.pad_scores
    if scores.ndim != 5 or scores.dtype not in (torch.float32, torch.float16):
        raise ValueError(
            f"scores must be (S, L, B, C, N) in float32 or float16, got {tuple(scores.shape)} in {scores.dtype}."
        )
    leading = (len(recording.steps), len(recording.layers), recording.batch)
    concepts, tokens = len(recording.concepts), math.prod(recording.grid)
    _check_tensor("scores", scores, (*leading, concepts, tokens), scores.dtype)
    _check_tensor("norms", norms, (*leading, concepts), torch.float32)
    if norms.min() < 0:
        raise ValueError("norms must not be negative.")
    if pads is not None:
        _check_tensor("pad_scores", pads, (*leading, tokens), scores.dtype)
    if recording.offsets is not None:
        if scores.dtype != torch.float16:
            raise ValueError(f"Only float16 scores have offsets, got {scores.dtype}.")
        _check_tensor("offsets", recording.offsets, (*leading, tokens), torch.float16)


def _check_regions(recording: Recording) -> None:
    names, masks = recording.regions, recording.region_masks
    if (names is None) != (masks is None):
        raise ValueError("regions and region_masks go together.")
    if names is None or masks is None:
        return
    if not names or not all(isinstance(name, str) for name in names) or len(set(names)) < len(names):
        raise ValueError(f"regions must be one or more different texts, got {names}.")
    if masks.ndim != 5:
        raise ValueError(f"region_masks must be (R, B, T, H, W), got {tuple(masks.shape)}.")
    _check_tensor("region_masks", masks, (len(names), recording.batch, *masks.shape[2:]), torch.float32)
    if masks.min() < 0 or masks.max() > 1:
        raise ValueError("region_masks must lie in 0-1.")


def _check_tensor(name: str, tensor: Tensor, shape: tuple[int, ...], dtype: torch.dtype) -> None:
    if tensor.shape != shape or tensor.dtype != dtype or tensor.device.type != "cpu" or not tensor.numel():
        raise ValueError(
            f"{name} must have shape {shape}, dtype {dtype} and be on the CPU, "
            f"got {tuple(tensor.shape)}, {tensor.dtype} on {tensor.device}."
        )
    # One NaN makes both extremes NaN; unlike isfinite, aminmax needs no memory.
    if not all(math.isfinite(extreme) for extreme in torch.aminmax(tensor)):
        raise UserError(f"{name} must be finite, got NaN or infinity. Run the model in another precision.")


def _check_integers(name: str, values: Sequence[int], low: int, high: int) -> None:
    for value in values:
        if type(value) is not int or not low <= value <= high:
            raise ValueError(f"{name} must be integers from {low} to {high}, got {value!r}.")
