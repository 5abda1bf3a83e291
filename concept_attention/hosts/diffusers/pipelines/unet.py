"""Stable Diffusion 1 and 2, SDXL and Kolors: pipelines around a U-Net."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from .latents import Latents
from .other import OtherFamily
from .request import Defaults


class UNetFamily(OtherFamily):
    """See `OtherFamily`."""

    def __init__(self) -> None:
        super().__init__(
            "Stable Diffusion",
            ("StableDiffusionPipeline", "StableDiffusionXLPipeline", "KolorsPipeline"),
            {
                "sd1.5": "stable-diffusion-v1-5/stable-diffusion-v1-5",
                "sdxl": "stabilityai/stable-diffusion-xl-base-1.0",
                "kolors": "Kwai-Kolors/Kolors-diffusers",
            },
            guidance_in_batch=True,
            latents=Latents(lambda latents, others: {"sample": latents}),
        )

    def defaults(self, pipeline: Any) -> Defaults:
        """Those of the pipeline's own call, at the length that the model was trained on."""
        length: Any = self.usual(pipeline).get("max_sequence_length")
        if length is None:
            length = getattr(self.tokenizer(pipeline), "model_max_length", 77)
        return replace(super().defaults(pipeline), max_tokens=length)
