"""How CogVideoX's pipeline is run: defaults, texts, what it is called with, and how it is shown an existing video.

Follows diffusers/pipelines/cogvideo/pipeline_cogvideox.py (0.42). A noise level is the noise's share of the standard
deviation, as the scheduler mixes noise and video: their squares add up to one.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from ....choices import Pooling, Reader
from ....concepts import Concept
from ...encoded import EncodedConcepts
from .request import Defaults, Layout, Request, is_tiny
from .t5 import encode_with_t5, refuse_clip

TITLE = "CogVideoX"
PIPELINES = ("CogVideoXPipeline",)
NAMES = {
    "cogvideox-2b": "THUDM/CogVideoX-2b",
    "cogvideox-5b": "THUDM/CogVideoX-5b",
    "cogvideox1.5-5b": "THUDM/CogVideoX1.5-5B",
}
VIDEO = True


def defaults(pipeline: Any) -> Defaults:
    """What to run it with: the size and length it was made for. Version 1.5 has twice the frames in a second."""
    config = pipeline.transformer.config
    pixels = pipeline.vae_scale_factor_spatial
    height, width = config.sample_height * pixels, config.sample_width * pixels
    return Defaults(
        side=round(math.sqrt(height * width)),
        steps=50,
        guidance=0.0,
        cfg=3.0 if is_tiny(pipeline) else 6.0,
        max_tokens=config.max_text_seq_length,
        size=(height, width),
        frames=config.sample_frames,
        frame_rate=16.0 if config.patch_size_t else 8.0,
    )


def tokenizer(pipeline: Any) -> Any:
    """The tokenizer that the prompt's words go through."""
    return pipeline.tokenizer


def encode_concepts(
    pipeline: Any, concepts: Sequence[Concept], pooling: Pooling, max_tokens: int, reader: Reader
) -> EncodedConcepts:
    """Each concept alone through T5. Source: the authors' code, which pads to 16 tokens and keeps the first."""
    refuse_clip(reader, TITLE)
    return encode_with_t5(pipeline, pipeline.tokenizer, pipeline.text_encoder, concepts, pooling, max_tokens)


def call_arguments(pipeline: Any, request: Request, batch: int) -> dict[str, Any]:
    """What this pipeline is called with beside what all are."""
    return {
        "negative_prompt": [request.negative_prompt] * batch,
        "guidance_scale": request.cfg,
        "num_frames": request.frames,
    }


def layout(pipeline: Any, width: int, height: int, frames: int) -> Layout:
    """The tokens of a video of so many pixels and frames.

    Raises:
        ValueError: for a number of frames that the VAE does not give back as it was.

    Convention: the first picture frame has a latent frame of its own. In version 1.5 a token covers two latent frames;
    an odd number of them is made even by one in front, which stands for no picture frame.
    """
    ratio, patch = pipeline.vae_scale_factor_temporal, pipeline.transformer.config.patch_size_t or 1
    unit = 2 * ratio  # the VAE takes latent frames in pairs, but for the first
    if frames < 1 or (frames - 1) % unit:
        below = max(0, frames - 1) // unit * unit + 1
        raise ValueError(f"The number of frames must be {unit} n + 1, got {frames}. Try {below} or {below + unit}.")
    latents = (frames - 1) // ratio + 1
    each = [0] * (-latents % patch) + [1] + [ratio] * (latents - 1)
    counts = tuple(sum(each[first : first + patch]) for first in range(0, len(each), patch))
    return Layout((len(counts), height // 16, width // 16), None if counts == (1,) * len(counts) else counts)


def outputs(output: Any) -> list[Any]:
    """What the pipeline has made, the frames of a video per prompt."""
    return output.frames


def step_sigma(scheduler: Any, step: int, timestep: Any) -> float:
    """Noise level, 0-1, of a step of the run that a scheduler is in."""
    return math.sqrt(1 - float(scheduler.alphas_cumprod[int(timestep)]))


def noised(pipeline: Any, latents: Tensor, fresh: Tensor, noise: float) -> Tensor:
    """Latents with noise, as the model sees them at noise level `noise`, 0-1."""
    return noise * fresh + math.sqrt(1 - noise * noise) * latents


def encode_pictures(pipeline: Any, pixels: Tensor) -> Tensor:
    """The frames of one video, (F, 3, H, W), -1 to 1, to latents, (1, T, C, H / 8, W / 8), in the transformer's dtype.

    The VAE's mean is taken, not a sample. Where the model needs a latent frame more, the first is there twice, as in
    diffusers' pipeline that goes on from a picture.
    """
    video = pixels.movedim(1, 0)[None].to(pipeline._execution_device, pipeline.vae.dtype)
    latents = pipeline.vae.encode(video).latent_dist.mode().transpose(1, 2) * pipeline.vae_scaling_factor_image
    missing = -latents.shape[1] % (pipeline.transformer.config.patch_size_t or 1)
    return torch.cat([latents[:, :missing], latents], dim=1).to(pipeline.transformer.dtype)


def conditions(
    pipeline: Any, prompt: str, batch: int, width: int, height: int, noise: float, latents: Tensor, max_tokens: int
) -> dict[str, Any]:
    """The transformer's arguments beside the latents; the timestep is that whose noise level is the nearest."""
    device = pipeline._execution_device
    text, _ = pipeline.encode_prompt(
        [prompt] * batch, None, do_classifier_free_guidance=False, max_sequence_length=max_tokens, device=device
    )
    levels = (1 - pipeline.scheduler.alphas_cumprod).clamp(min=0).sqrt()
    timestep = int((levels - noise).abs().argmin())
    rotated = pipeline.transformer.config.use_rotary_positional_embeddings
    places = (
        pipeline._prepare_rotary_positional_embeddings(height, width, latents.shape[1], device) if rotated else None
    )
    return {
        "encoder_hidden_states": text.to(latents.dtype),
        "timestep": torch.full((batch,), timestep, device=device),
        "image_rotary_emb": places,
    }
