"""Progress of a training run: a contact sheet of generated images and the map accuracy on unseen scenes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from einops import rearrange
from PIL import Image

from ...files import save_image
from ..evaluation.landscapes import evaluate_landscapes
from ..models.codec import CHANNELS, PATCH, LinearCodec
from .family import Family
from .trainer import Trainer

PROMPTS = (
    "a red house and a tree on grass under the sky",
    "a boat, a sun, water, sky",
    "a moon and a mountain on snow under the night sky",
    "a blue car and a flower on grass",
    "a balloon and a cloud over sand",
    "a yellow flower and a rock on grass",
    "a picture of a mountain and a sun",
    "snow and sky with a green house and a tree",
)
COLUMNS = 4
SCENES = 48


def show_progress(trainer: Trainer, codec: LinearCodec, grid: int, sheet: Path) -> float | None:
    """Write a contact sheet of images, or clips, of PROMPTS, and measure the maps.

    Args:
        trainer: its moving average is used.
        codec: decodes the images; the shipped decoder is trained separately.
        grid: side of the token grid that is being trained.
        sheet: file to write.

    Returns:
        Share of tokens whose concept is the true one, 0-1, on unseen scenes of that grid; None if no maps are taught.
    """
    pipeline = trainer.family.pipeline(trainer.averaged(), codec).to(trainer.device)
    pipeline.set_progress_bar_config(disable=True)
    side = 16 * grid
    _write_sheet(trainer.family, pipeline, codec, side, sheet)
    if not trainer.family.map_layers:
        return None
    return evaluate_landscapes(pipeline, SCENES, width=side, height=side).pixel_accuracy


def _write_sheet(family: Family, pipeline: Any, codec: LinearCodec, side: int, path: Path) -> None:
    """Write all images side by side, or the frames of every clip in a row."""
    frames = family.stages[-1].frames
    latents = family.sample(pipeline, PROMPTS, side).reshape(-1, CHANNELS, side // PATCH, side // PATCH)
    images = codec.decode(latents.float().cpu().numpy())
    sheet = rearrange(images, "(r c) h w k -> (r h) (c w) k", c=frames if family.clips else COLUMNS)
    save_image(Image.fromarray(np.ascontiguousarray(sheet)), path)
