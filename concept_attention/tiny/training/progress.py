"""What a training run shows of itself: a sheet of generated pictures and the map accuracy on unseen scenes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from einops import rearrange
from PIL import Image

from ...files import save_image
from ...hosts.diffusers.pipelines.request import Request
from ...hosts.diffusers.registry import family_of
from ..evaluation.landscapes import evaluate_landscapes
from ..models.codec import CHANNELS, PATCH, LinearCodec
from ..models.texts import TEXT_TOKENS
from .family import Kind
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


def show_progress(trainer: Trainer, codec: LinearCodec, grid: int, sheet: Path) -> float:
    """Write a sheet of pictures, or clips, of PROMPTS, and measure the maps.

    Args:
        trainer: whose moving average is looked at.
        codec: decodes the pictures; the shipped decoder is trained apart.
        grid: side of the token grid that is being trained.
        sheet: file to write.

    Returns:
        Share of tokens whose concept is the true one, 0-1, on unseen scenes of that grid.
    """
    pipeline = trainer.kind.pipeline(trainer.averaged(), codec).to(trainer.device)
    pipeline.set_progress_bar_config(disable=True)
    side = 16 * grid
    _write_sheet(trainer.kind, pipeline, codec, side, sheet)
    return evaluate_landscapes(pipeline, SCENES, width=side, height=side).pixel_accuracy


def _write_sheet(kind: Kind, pipeline: Any, codec: LinearCodec, side: int, path: Path) -> None:
    """Every picture beside the others; of a clip its frames in a row."""
    family, frames = family_of(pipeline), kind.stages[-1].frames
    request = Request(negative_prompt="", width=side, height=side, frames=frames, guidance=0.0, cfg=3.0)
    made = pipeline(
        list(PROMPTS),
        **family.call_arguments(pipeline, request, len(PROMPTS)),
        width=side,
        height=side,
        num_inference_steps=16,
        max_sequence_length=TEXT_TOKENS,
        generator=torch.Generator().manual_seed(0),
        output_type="latent",
    )
    latents = kind.unpack(family.outputs(made), side // 16).reshape(-1, CHANNELS, side // PATCH, side // PATCH)
    pictures = codec.decode(latents.float().cpu().numpy())
    sheet = rearrange(pictures, "(r c) h w k -> (r h) (c w) k", c=frames if kind.clips else COLUMNS)
    save_image(Image.fromarray(np.ascontiguousarray(sheet)), path)
