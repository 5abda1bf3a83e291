"""LTX Video's pipelines that make a video from a prompt alone."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from einops import rearrange
from torch import Tensor

from ..networks import network_of
from .latents import Latents
from .other import OtherFamily


def in_tokens(latents: Tensor, others: Mapping[str, Any]) -> Mapping[str, Any]:
    """(B, T * H * W, C), of one latent pixel each."""
    return {"hidden_states": rearrange(latents, "b c t h w -> b (t h w) c")}


class LTXVideoFamily(OtherFamily):
    """See `OtherFamily`."""

    def __init__(self) -> None:
        super().__init__(
            "LTX Video",
            ("LTXPipeline",),
            {"ltx-video": "Lightricks/LTX-Video"},
            video=True,
            guidance_in_batch=True,
            usual={"frame_rate": 25.0},
            latents=Latents(in_tokens),
        )

    def encode_images(self, pipeline: Any, pixels: Tensor) -> Tensor:
        """As in `PipelineFamily`; the autoencoder has mean and deviation of its channels among its weights."""
        vae = pipeline.vae
        encoded = vae.encode(self.for_vae(pixels.to(pipeline._execution_device, vae.dtype))).latent_dist.mode()
        mean, deviation = (one.view(1, -1, 1, 1, 1).to(encoded) for one in (vae.latents_mean, vae.latents_std))
        latents: Tensor = (encoded - mean) * vae.config.scaling_factor / deviation
        return latents.to(network_of(pipeline).dtype)
