"""MiniMax-H3's pipelines that make a video with sound from a prompt alone (0.42).

An existing video is looked at with silence, whose latents are zero as in ComfyUI. The sound is as noisy as its own
schedule is where that of the video is at the asked noise level. What is diffusers' own is imported where it is used:
older versions lack it.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import torch
from einops import rearrange
from torch import Tensor

from ....errors import UserError
from .family import draw_noise
from .latents import normalised
from .modular import ModularFamily
from .own_encoder import encode_text
from .request import Defaults, Layout, Request

SOUND_SEED = 0


class MiniMaxH3Family(ModularFamily):
    """See `ModularFamily`.

    Its autoencoder makes 5 n + 2 latent frames of 17 n + 5 frames, and one of a picture.
    """

    min_steps: ClassVar[int] = 2  # the last one of its schedule evaluates nothing

    def __init__(self) -> None:
        names = {"minimax-h3": "MiniMaxAI/MiniMax-H3"}
        super().__init__("MiniMax-H3", ("MiniMaxH3ModularPipeline",), names, video=True, usual={"frame_rate": 24.0})

    def defaults(self, pipeline: Any) -> Defaults:
        """Those of the pipeline's own call, whose videos are 16:9."""
        from diffusers.modular_pipelines.minimax_h3.modular_pipeline import resolve_canvas_size

        config = pipeline.config
        budget = config.canvas_short_edge, config.canvas_max_pixels
        height, width = resolve_canvas_size(16, 9, pipeline.canvas_multiple, *budget)
        return dataclasses.replace(
            super().defaults(pipeline), side=round(math.sqrt(height * width)), size=(height, width)
        )

    def check_prompts(self, prompts: Sequence[str], request: Request) -> None:
        """Check that there is one prompt, and not an empty one.

        Raises:
            UserError: if there is not.
        """
        super().check_prompts(prompts, request)
        if len(prompts) > 1:
            raise UserError(f"MiniMax-H3 makes one video at a time, got {len(prompts)} prompts. Give one.")
        if not prompts[0].strip():
            raise UserError("MiniMax-H3 makes nothing of an empty prompt. Give at least one word.")

    def call_arguments(self, pipeline: Any, request: Request, batch: int) -> dict[str, Any]:
        """As in `ModularFamily`.

        Raises:
            UserError: for a video that is shorter or longer than the pipeline's.
        """
        seconds, shortest, longest = request.frames / pipeline.fps, pipeline.min_duration, pipeline.max_duration
        if not shortest <= seconds <= longest:
            chunk, rest = pipeline.vae_frames_per_chunk, pipeline.vae_latents_per_chunk
            fewest = math.ceil((shortest * pipeline.fps - rest) / chunk) * chunk + rest
            most = math.floor((longest * pipeline.fps - rest) / chunk) * chunk + rest
            raise UserError(
                f"MiniMax-H3 makes videos of {shortest:g} to {longest:g} seconds, and {request.frames} frames are "
                f"{seconds:.1f}. Ask for {fewest} to {most} frames."
            )
        return super().call_arguments(pipeline, request, batch)

    def layout(self, pipeline: Any, width: int, height: int, frames: int) -> Layout:
        """The token grid of a video, or of a picture.

        Raises:
            UserError: for a number of frames that the autoencoder cannot take.
        """
        from diffusers.modular_pipelines.minimax_h3.modular_pipeline import video_latent_num_frames

        chunk, rest = pipeline.vae_frames_per_chunk, pipeline.vae_latents_per_chunk
        if frames != 1 and (frames < rest or frames % chunk != rest):
            below = max(0, frames - rest) // chunk * chunk + rest
            raise UserError(
                f"The number of frames must be {chunk} n + {rest}, or 1 for a picture, got {frames}. "
                f"Try {below} or {below + chunk}."
            )
        latent_frames = 1 if frames == 1 else video_latent_num_frames(frames, chunk, rest)
        pixels = self.token_pixels(pipeline)
        grid = latent_frames // pipeline.patch_size[0], height // pixels, width // pixels
        return Layout(grid, self.frame_counts(pipeline, grid))

    def encode_images(self, pipeline: Any, pixels: Tensor) -> Tensor:
        """As in `PipelineFamily`, float32; the autoencoder takes pixels with the mean and deviation of ImageNet's."""
        pixels = self.for_vae(pixels.to(pipeline._execution_device, torch.float32)) / 2 + 0.5
        moments = pipeline.pixel_mean, pipeline.pixel_std
        mean, deviation = (pixels.new_tensor(one).view(1, -1, 1, 1, 1) for one in moments)
        encoded = pipeline.vae.encode((pixels - mean) / deviation).latent_dist.mode()
        return normalised(pipeline.vae, encoded.float())

    def shown(self, pipeline: Any, conditions: Mapping[str, Any], latents: Tensor) -> Mapping[str, Any]:
        """The transformer's arguments with noised latents, one row for each token."""
        frames, rows, columns = pipeline.patch_size
        tokens = rearrange(latents, "1 c (t f) (h p) (w q) -> 1 (t h w) (c f p q)", f=frames, p=rows, q=columns)
        return {**conditions, "hidden_states": tokens}

    def conditions(
        self, pipeline: Any, prompt: str, latents: Tensor, request: Request, noise: float, max_tokens: int
    ) -> dict[str, Any]:
        """What the pipeline's own steps make for such a video, also for a picture or a video that is shorter than its.

        An empty prompt is a token of padding: the model needs one.
        """
        from diffusers.modular_pipelines.minimax_h3.before_denoise import (
            MiniMaxH3PrepareLayoutStep,
            MiniMaxH3SetTimestepsStep,
        )
        from diffusers.modular_pipelines.minimax_h3.modular_pipeline import audio_latent_num_frames
        from diffusers.utils.torch_utils import maybe_adjust_dtype_for_device

        plain, device = self.plain(pipeline), pipeline._execution_device
        text = encode_text(plain, prompt if prompt.strip() else self.tokenizer(plain).pad_token, max_tokens, {})
        words, sound_frames = text["text_token_tags"], audio_latent_num_frames(request.frames)
        places, tags, video, sound, texts, *_ = MiniMaxH3PrepareLayoutStep.build_packed_sequence(
            words,
            *latents.shape[2:],
            sound_frames,
            plain.patch_size,
            plain.audio_channels,
            plain.audio_tag,
            plain.video_tag,
        )
        sound_noise = same_place(noise, plain.scheduler.shift, plain.audio_scheduler.shift)
        timestep, indices = MiniMaxH3SetTimestepsStep.build_row_timesteps(
            video, sound, 0, 0, len(words), 1 - noise, 1 - sound_noise, 1.0, 1.0
        )
        silence = draw_noise((1, len(sound), plain.audio_latent_channels), SOUND_SEED) * sound_noise
        given = {
            "audio_hidden_states": silence,
            "encoder_hidden_states": text["prompt_embeds"],
            "timestep": timestep,
            "timestep_indices": indices,
            "token_tags": tags,
            "position_ids": places.to(maybe_adjust_dtype_for_device(places.dtype, device)),
            "video_indices": video,
            "audio_indices": sound,
            "text_indices": texts,
        }
        return {name: part.to(device) for name, part in given.items()}


def same_place(sigma: float, shift: float, other: float) -> float:
    """The noise level, 0-1, of a schedule with the shift `other` where one with this shift is at `sigma`.

    >>> same_place(0.75, 3.0, 1.0)
    0.5
    """
    base = sigma / (shift - (shift - 1) * sigma)
    return other * base / (1 + (other - 1) * base)
