"""Latents of existing images: normalised as models get them, and laid out as their transformers take them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from einops import rearrange
from torch import Tensor

# The transformer's arguments that hold the latents, of (latents as `normalised`, its other arguments).
Arrange = Callable[[Tensor, Mapping[str, Any]], Mapping[str, Any]]


def normalised(vae: Any, latents: Tensor) -> Tensor:
    """Latents of a VAE, (B, C, ...), with its mean and deviation per channel, or its shift and factor.

    These are in its configuration, or its mean and deviation among its weights.
    """
    config, scale = vae.config, vae.config.get("scaling_factor") or 1.0
    weights = dict(vae.named_buffers(recurse=False))
    mean, deviation = (config.get(name, weights.get(name)) for name in ("latents_mean", "latents_std"))
    if mean is None or deviation is None:
        return (latents - (config.get("shift_factor") or 0.0)) * scale
    shape = 1, latents.shape[1], -1, *[1] * (latents.ndim - 3)  # those of Cosmos 1 differ from frame to frame
    moments = (torch.as_tensor(one).view(shape).to(latents) for one in (mean, deviation))
    mean, deviation = (one[:, :, : latents.shape[2]] for one in moments)
    return (latents - mean) / deviation * scale


def patched(vae: Any, latents: Tensor, channels: str) -> Tensor:
    """Latents of a VAE of Flux 2, (B, C, H, W), as 2x2 latent pixels, (B, 4 C, H / 2, W / 2), normalised.

    Args:
        vae: has the mean and variance of every channel of the result.
        latents: of it.
        channels: their order: einops' names of a channel `c` and of row `p` and column `q` in the 2x2.
    """
    latents = rearrange(latents, f"b c (h p) (w q) -> b {channels} h w", p=2, q=2)
    mean, variance = (one.view(1, -1, 1, 1).to(latents) for one in (vae.bn.running_mean, vae.bn.running_var))
    return (latents - mean) / torch.sqrt(variance + vae.config.batch_norm_eps)


def as_they_are(latents: Tensor, others: Mapping[str, Any]) -> Mapping[str, Any]:
    return {"hidden_states": latents}


def in_tokens(latents: Tensor, others: Mapping[str, Any]) -> Mapping[str, Any]:
    """(B, H * W / 4, 4 C), of 2x2 latent pixels each."""
    latents = latents.squeeze(2) if latents.ndim == 5 else latents
    return {"hidden_states": rearrange(latents, "b c (h p) (w q) -> b (h w) (c p q)", p=2, q=2)}


def as_tokens(latents: Tensor, others: Mapping[str, Any]) -> Mapping[str, Any]:
    """(B, T * H * W, C), of one latent pixel each."""
    return {"hidden_states": latents.flatten(2).transpose(1, 2)}


def in_a_list(latents: Tensor, others: Mapping[str, Any]) -> Mapping[str, Any]:
    """One by one, as videos of one frame."""
    return {"x": list(latents[:, :, None])}


def as_items(latents: Tensor, others: Mapping[str, Any]) -> Mapping[str, Any]:
    """Each the only item of its row, (B, 1, C, T, H, W)."""
    return {"hidden_states": latents[:, None]}


def before_channels(latents: Tensor, others: Mapping[str, Any]) -> Mapping[str, Any]:
    """Before the channels of a first frame that the model may be given."""
    given = others["hidden_states"]
    return {"hidden_states": torch.cat([latents, given[:, latents.shape[1] :]], dim=1)}


def channels_last(latents: Tensor, others: Mapping[str, Any]) -> Mapping[str, Any]:
    """(B, T, H, W, C), before the channels of a first frame that the model may be given."""
    latents = latents[:, :, None] if latents.ndim == 4 else latents
    latents, given = latents.movedim(1, -1), others["hidden_states"]
    return {"hidden_states": torch.cat([latents, given[..., latents.shape[-1] :]], dim=-1)}


def unpatched(latents: Tensor, others: Mapping[str, Any]) -> Mapping[str, Any]:
    """Of 2x2 latent pixels in their channels, (B, 4 C, H / 2, W / 2), one by one again, (B, C, H, W)."""
    return {"hidden_states": rearrange(latents, "b (c p q) h w -> b c (h p) (w q)", p=2, q=2)}


def behind_text(latents: Tensor, others: Mapping[str, Any]) -> Mapping[str, Any]:
    """As tokens, behind the place of the text's."""
    tokens, given = latents.flatten(2).transpose(1, 2), others["hidden_states"]
    return {"hidden_states": torch.cat([given[:, : -tokens.shape[1]], tokens], dim=1)}


@dataclass(frozen=True)
class Latents:
    """How the transformer of a family takes latents.

    Attributes:
        arrange: which arguments they are.
        frames: whether the VAE takes an image as a video of one frame.
        channels: order of the channels, see `patched`, where the latents are of 2x2 latent pixels; "" where not.
        unshifted: whether the model gets latents that are only scaled, also where the VAE has a shift.
        pixels: along a side of a token, in pixels of the pipeline's VAE factor; None is the transformer's patch.
    """

    arrange: Arrange = as_they_are
    frames: bool = False
    channels: str = ""
    unshifted: bool = False
    pixels: int | None = None


PLAIN = Latents()
