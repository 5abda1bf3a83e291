"""How Flux 1's pipelines are run.

Follows diffusers/pipelines/flux/pipeline_flux.py and pipeline_flux_kontext.py (0.42).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from diffusers import FluxKontextPipeline
from torch import Tensor

from ..transformers.flux import pack_latents, position_ids
from .family import PipelineFamily
from .request import Defaults, Request, is_tiny


class FluxFamily(PipelineFamily):
    """Flux 1: schnell, dev, Kontext and their fine-tunes.

    Source: the authors' `embed_concepts`, which keeps the first token of T5; their `encode_image`, in which image and
    text have a zero pooled vector and zero guidance.
    """

    title = "Flux 1"
    pipelines = ("FluxPipeline", "FluxKontextPipeline")
    names = {
        "flux-schnell": "black-forest-labs/FLUX.1-schnell",
        "flux-dev": "black-forest-labs/FLUX.1-dev",
    }

    def defaults(self, pipeline: Any) -> Defaults:
        """Texts are padded no further than the model's own tokenizer says."""
        own = pipeline.tokenizer_2.model_max_length
        if is_tiny(pipeline):
            return Defaults(side=256, steps=60, guidance=0.0, cfg=3.0, max_tokens=own)
        if pipeline.transformer.config.guidance_embeds:
            return Defaults(side=1024, steps=28, guidance=3.5, cfg=1.0, max_tokens=min(512, own))
        return Defaults(side=1024, steps=4, guidance=0.0, cfg=1.0, max_tokens=min(256, own))

    def tokenizer(self, pipeline: Any) -> Any:
        return pipeline.tokenizer_2

    def text_encoder(self, pipeline: Any) -> Any:
        return pipeline.text_encoder_2

    def call_arguments(self, pipeline: Any, request: Request, batch: int) -> dict[str, Any]:
        # Kontext otherwise changes the size to one that it was trained on.
        area = {"max_area": request.width * request.height} if isinstance(pipeline, FluxKontextPipeline) else {}
        return {
            "negative_prompt": request.negative_prompts(batch) if request.cfg > 1 else None,
            "true_cfg_scale": request.cfg,
            "guidance_scale": request.guidance,
            **area,
        }

    def schedule_arguments(self, config: Any, steps: int, tokens: int) -> dict[str, Any]:
        return {"sigmas": np.linspace(1, 1 / steps, steps), "mu": self.usual_shift(config, tokens)}

    def shown(self, pipeline: Any, conditions: Mapping[str, Any], latents: Tensor) -> Mapping[str, Any]:
        return super().shown(pipeline, conditions, pack_latents(latents))

    def conditions(
        self, pipeline: Any, prompt: str, latents: Tensor, request: Request, noise: float, max_tokens: int
    ) -> dict[str, Any]:
        device, dtype, batch = pipeline._execution_device, pipeline.transformer.dtype, len(latents)
        text, pooled, text_ids = pipeline.encode_prompt(
            prompt=[prompt] * batch, prompt_2=None, device=device, max_sequence_length=max_tokens
        )
        return {
            **self.sigma_and_guidance(pipeline, batch, noise),
            "encoder_hidden_states": text.to(dtype),
            "pooled_projections": torch.zeros_like(pooled, dtype=dtype),
            "img_ids": position_ids(request.height // 16, request.width // 16, device).to(dtype),
            "txt_ids": text_ids,
        }
