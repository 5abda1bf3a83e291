"""Latents of images as each family's pipeline has them in its loop, written out by hand."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from einops import rearrange
from torch import Tensor


def moments(pipeline: Any, latents: Tensor) -> Tensor:
    """The inverse of what Qwen-Image's, Krea 2's, JoyImage's and Mochi's pipelines do before they decode."""
    config = pipeline.vae.config
    mean, deviation = (torch.tensor(one).reshape(-1, 1, 1, 1) for one in (config.latents_mean, config.latents_std))
    return (latents - mean) / deviation


def shifted(pipeline: Any, latents: Tensor) -> Tensor:
    return (latents - pipeline.vae.config.shift_factor) * pipeline.vae.config.scaling_factor


def scaled(pipeline: Any, latents: Tensor) -> Tensor:
    return latents * pipeline.vae.config.scaling_factor


def batch_norm(pipeline: Any, latents: Tensor) -> Tensor:
    """Of latents whose last axis is that of the channels."""
    bn, small = pipeline.vae.bn, pipeline.vae.config.batch_norm_eps
    return (latents - bn.running_mean) / (bn.running_var + small).sqrt()


def packed(pipeline: Any, latents: Tensor) -> Tensor:
    latents = latents[:, :, 0] if latents.ndim == 5 else latents
    return pipeline._pack_latents(latents, *latents.shape)


def of_image(pipeline: Any, pixels: Tensor) -> Tensor:
    return pipeline.vae.encode(pixels).latent_dist.mean


def of_still(pipeline: Any, pixels: Tensor) -> Tensor:
    return pipeline.vae.encode(pixels[:, :, None]).latent_dist.mean


def of_video(pipeline: Any, pixels: Tensor) -> Tensor:
    return pipeline.vae.encode(pixels.transpose(0, 1)[None]).latent_dist.mode()


def of_imagenet_video(pipeline: Any, pixels: Tensor) -> Tensor:
    """Pixels 0 to 1 with ImageNet's mean and deviation."""
    mean, deviation = (torch.tensor(one)[:, None, None] for one in ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)))
    return of_video(pipeline, ((pixels + 1) / 2 - mean) / deviation)


def flux3(pipeline: Any, latents: Tensor) -> Tensor:
    from diffusers.modular_pipelines.flux3.encoders import Flux3VaeEncoderStep

    packed = Flux3VaeEncoderStep._patchify_latents(latents)
    return batch_norm(pipeline, packed.movedim(1, -1)).movedim(-1, 1)


def in_rows(pipeline: Any, latents: Tensor) -> Tensor:
    from diffusers.modular_pipelines.minimax_h3.before_denoise import patchify_video_latents

    return patchify_video_latents(latents, (1, 2, 2))[None]


def ernie(pipeline: Any, latents: Tensor) -> Tensor:
    return batch_norm(pipeline, pipeline._patchify_latents(latents).movedim(1, -1)).movedim(-1, 1)


def ideogram(pipeline: Any, latents: Tensor) -> Tensor:
    """(B, C, rows, columns): the inverse of the pipeline's `permute(0, 5, 1, 3, 2, 4)`."""
    batch, channels, height, width = latents.shape
    parts = latents.view(batch, channels, height // 2, 2, width // 2, 2).permute(0, 2, 4, 3, 5, 1)
    return batch_norm(pipeline, parts.flatten(3)).movedim(-1, 1)


def in_place_of_text(pipeline: Any, latents: Tensor) -> Tensor:
    """Zeros for 24 text tokens, then the image's."""
    tokens = rearrange(latents, "b c h w -> b (h w) c")
    return torch.cat([tokens.new_zeros(len(tokens), 24, tokens.shape[-1]), tokens], dim=1)


def without_first_frame(pipeline: Any, latents: Tensor) -> Tensor:
    """With a first frame of zeros and a mask of zeros, as where only a prompt is given."""
    return torch.cat([latents, torch.zeros_like(latents), torch.zeros_like(latents[:, :1])], dim=1)


def plain(pipeline: Any, latents: Tensor) -> Tensor:
    return latents


def weights_of(pipeline: Any, latents: Tensor) -> Tensor:
    return pipeline._normalize_latents(latents, pipeline.vae.latents_mean, pipeline.vae.latents_std)


def moments_of_frames(pipeline: Any, latents: Tensor) -> Tensor:
    """The inverse of what Cosmos 1's pipeline does before it decodes, but for the deviation of its data."""
    vae, frames = pipeline.vae, latents.shape[2]
    moments = vae.config.latents_mean, vae.config.latents_std
    mean, deviation = (torch.tensor(one).view(4, -1, 1, 1)[:, :frames] for one in moments)
    return (latents - mean) / deviation


def of_compressed(pipeline: Any, pixels: Tensor) -> Tensor:
    return pipeline.vae.encode(pixels).latent


def of_frames(pipeline: Any, pixels: Tensor) -> Tensor:
    """Frame by frame, as pictures."""
    frames = [pipeline.vae.encode(one[None]).latent_dist.mean[0] for one in pixels]
    return torch.stack(frames, dim=1)[None]


def kandinsky(pipeline: Any, latents: Tensor) -> Tensor:
    """Channels last, of a video with a first frame and its mask, both zeros."""
    if latents.ndim == 4:
        return latents[:, :, None].permute(0, 2, 3, 4, 1)
    latents = latents.permute(0, 2, 3, 4, 1)
    return torch.cat([latents, torch.zeros_like(latents), torch.zeros_like(latents[..., :1])], dim=-1)


Step = Callable[[Any, Tensor], Tensor]
# How latents are made of pixels, normalised, and laid out.
BY_HAND: dict[str, tuple[Step, Step, Step]] = {
    "Qwen-Image": (of_still, moments, packed),
    "Z-Image": (of_image, shifted, lambda pipeline, latents: latents[:, :, None]),
    "Lumina 2": (of_image, shifted, plain),
    "Krea 2": (of_still, moments, packed),
    "Chroma": (of_image, shifted, packed),
    "LongCat-Image": (of_image, shifted, packed),
    "Ovis-Image": (of_image, shifted, packed),
    "Bria": (of_image, shifted, packed),
    "AuraFlow": (of_image, shifted, plain),
    "HiDream-I1": (of_image, shifted, plain),
    "Ernie-Image": (of_image, ernie, plain),
    "Ideogram 4": (of_image, ideogram, in_place_of_text),
    "JoyImage": (of_still, moments, lambda pipeline, latents: latents[:, None]),
    "HunyuanImage 2.1": (of_image, scaled, plain),
    "CogView 3 Plus": (of_image, shifted, plain),
    "CogView 4": (of_image, shifted, plain),
    "HunyuanVideo": (of_video, scaled, plain),
    "HunyuanVideo 1.5": (of_video, scaled, without_first_frame),
    "Motif-Video": (of_video, moments, without_first_frame),
    "Mochi": (of_video, moments, plain),
    "EasyAnimate": (of_video, scaled, plain),
    "Flux 3": (of_image, flux3, lambda pipeline, latents: latents.flatten(2).transpose(1, 2)),
    "MiniMax-H3": (of_imagenet_video, moments, in_rows),
    "Wan": (of_video, moments, plain),
    "LTX Video": (of_video, weights_of, lambda pipeline, latents: pipeline._pack_latents(latents, 1, 1)),
    "LTX-2.3": (of_video, weights_of, lambda pipeline, latents: pipeline._pack_latents(latents, 1, 1)),
    "LTX-2": (of_video, weights_of, lambda pipeline, latents: pipeline._pack_latents(latents, 1, 1)),
    "Fibo 2": (of_image, ernie, lambda pipeline, latents: pipeline._unpatchify_latents(latents)),
    "Kandinsky 5": (of_video, scaled, kandinsky),
    "Kandinsky 5 Image": (of_image, scaled, kandinsky),
    "PixArt": (of_image, scaled, plain),
    "HunyuanDiT": (of_image, scaled, plain),
    "Kolors": (of_image, scaled, plain),
    "Sana": (of_compressed, scaled, plain),
    "Sana Video": (of_video, moments, plain),
    "Latte": (of_frames, scaled, plain),
    "Cosmos 1": (of_video, moments_of_frames, plain),
    "Cosmos Predict 2": (of_still, moments, plain),
    "Cosmos Predict 2.5": (of_video, moments, plain),
}
# Where the squares of noise and image add up to one.
SQUARES = ("CogView 3 Plus", "PixArt", "HunyuanDiT", "Latte", "Kolors", "Cosmos 1")


@torch.no_grad()
def noised_by_hand(name: str, pipeline: Any, pixels: Tensor, noise: float, seed: int) -> Tensor:
    """What the transformer gets of images, or of a video's frames, (B, 3, H, W), at a noise level."""
    encode, normalise, lay_out = BY_HAND[name]
    latents = normalise(pipeline, encode(pipeline, pixels))
    fresh = torch.randn(latents.shape[1:], generator=torch.Generator().manual_seed(seed))
    kept = (1 - noise**2) ** 0.5 if name in SQUARES else 1 - noise
    return lay_out(pipeline, noise * fresh + kept * latents)
