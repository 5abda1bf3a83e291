"""How CogVideoX's pipeline is run.

Follows diffusers/pipelines/cogvideo/pipeline_cogvideox.py (0.42). A noise level is the noise's share of the standard
deviation, as the scheduler mixes noise and video: their squares add up to one.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from ....errors import UserError
from ..steps import first_timestep
from .family import PipelineFamily
from .request import Defaults, Layout, Request, is_tiny


class CogVideoXFamily(PipelineFamily):
    """CogVideoX: 2B, 5B and 1.5.

    Source: the authors' code, which pads concepts to 16 tokens of T5 and keeps the first.
    """

    title = "CogVideoX"
    pipelines = ("CogVideoXPipeline",)
    names = {
        "cogvideox-2b": "THUDM/CogVideoX-2b",
        "cogvideox-5b": "THUDM/CogVideoX-5b",
        "cogvideox1.5-5b": "THUDM/CogVideoX1.5-5B",
    }
    guidance_in_batch = True
    video = True

    def defaults(self, pipeline: Any) -> Defaults:
        """The size and length the model was made for. Version 1.5 has twice the frames per second."""
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

    def max_steps(self, pipeline: Any) -> int:
        return pipeline.scheduler.config.num_train_timesteps

    def call_arguments(self, pipeline: Any, request: Request, batch: int) -> dict[str, Any]:
        return {
            "negative_prompt": request.negative_prompts(batch),
            "guidance_scale": request.cfg,
            "num_frames": request.frames,
        }

    def layout(self, pipeline: Any, width: int, height: int, frames: int) -> Layout:
        """The token grid for a video of so many pixels and frames.

        Raises:
            UserError: for a number of frames that the VAE does not give back unchanged.

        """
        ratio, patch = pipeline.vae_scale_factor_temporal, pipeline.transformer.config.patch_size_t or 1
        unit = 2 * ratio  # the VAE takes latent frames in pairs, except for the first
        if frames < 1 or (frames - 1) % unit:
            below = max(0, frames - 1) // unit * unit + 1
            raise UserError(f"The number of frames must be {unit} n + 1, got {frames}. Try {below} or {below + unit}.")
        latents = (frames - 1) // ratio + 1
        grid = math.ceil(latents / patch), height // 16, width // 16
        return Layout(grid, self.frame_counts(pipeline, grid))

    def frame_counts(self, pipeline: Any, grid: tuple[int, int, int]) -> tuple[int, ...] | None:
        """Frames that each T of a token grid stands for.

        Convention: the first frame has a latent frame of its own. In version 1.5 a token covers two latent frames; an
        odd number of them, as there always is, is made even by one in front, which stands for no frame.
        """
        ratio, patch = pipeline.vae_scale_factor_temporal, pipeline.transformer.config.patch_size_t or 1
        latents = grid[0] * patch - (patch - 1)
        each = [0] * (patch - 1) + [1] + [ratio] * (latents - 1)
        counts = tuple(sum(each[first : first + patch]) for first in range(0, len(each), patch))
        return None if counts == (1,) * len(counts) else counts

    def outputs(self, output: Any) -> Any:
        return output.frames

    def step_sigma(self, scheduler: Any, step: int, timestep: Any) -> float:
        return math.sqrt(1 - float(scheduler.alphas_cumprod[int(timestep)]))

    def noised(self, pipeline: Any, latents: Tensor, fresh: Tensor, noise: float) -> Tensor:
        return noise * fresh + math.sqrt(1 - noise * noise) * latents

    def encode_images(self, pipeline: Any, pixels: Tensor) -> Tensor:
        """The frames of one video, (F, 3, H, W), -1 to 1, to latents, (1, C, T, H / 8, W / 8).

        Where the model needs one latent frame more, the first is repeated, as in diffusers' image-to-video pipeline.
        """
        latents = super().encode_images(pipeline, pixels)
        missing = -latents.shape[2] % (pipeline.transformer.config.patch_size_t or 1)
        return torch.cat([latents[:, :, :missing], latents], dim=2)

    def shown(self, pipeline: Any, conditions: Mapping[str, Any], latents: Tensor) -> Mapping[str, Any]:
        return super().shown(pipeline, conditions, latents.transpose(1, 2))

    def conditions(
        self, pipeline: Any, prompt: str, latents: Tensor, request: Request, noise: float, max_tokens: int
    ) -> dict[str, Any]:
        """The transformer's arguments besides the latents; the timestep is the one with the nearest noise level."""
        device, batch = pipeline._execution_device, len(latents)
        text, _ = pipeline.encode_prompt(
            [prompt] * batch, None, do_classifier_free_guidance=False, max_sequence_length=max_tokens, device=device
        )
        timestep = int(first_timestep(pipeline.scheduler, noise))
        rotation = None
        if pipeline.transformer.config.use_rotary_positional_embeddings:
            rotation = pipeline._prepare_rotary_positional_embeddings(
                request.height, request.width, latents.shape[2], device
            )
        return {
            "encoder_hidden_states": text.to(latents.dtype),
            "timestep": torch.full((batch,), timestep, device=device),
            "image_rotary_emb": rotation,
        }
