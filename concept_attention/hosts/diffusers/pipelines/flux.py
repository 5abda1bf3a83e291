"""How Flux 1's pipeline is run: defaults, texts, what it is called with, and how it is shown an existing picture.

Follows diffusers/pipelines/flux/pipeline_flux.py (0.42).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from diffusers.pipelines.flux.pipeline_flux import calculate_shift
from torch import Tensor

from ....choices import Pooling, Reader
from ....concepts import Concept
from ...encoded import EncodedConcepts
from ..transformers import flux
from . import flow
from .request import Defaults, Request, is_tiny
from .t5 import encode_with_t5, refuse_clip

TITLE = "Flux 1"
PIPELINES = ("FluxPipeline",)
NAMES = {
    "flux-schnell": "black-forest-labs/FLUX.1-schnell",
    "flux-dev": "black-forest-labs/FLUX.1-dev",
}
VIDEO = False

# What FluxPipeline shifts a schedule by where its scheduler says nothing: tokens and shifts of two picture sizes.
SHIFT = {"base_image_seq_len": 256, "max_image_seq_len": 4096, "base_shift": 0.5, "max_shift": 1.15}


def defaults(pipeline: Any) -> Defaults:
    """What to run it with; texts are padded no further than its own tokenizer says."""
    own = pipeline.tokenizer_2.model_max_length
    if is_tiny(pipeline):
        return Defaults(side=256, steps=60, guidance=0.0, cfg=3.0, max_tokens=own)
    if pipeline.transformer.config.guidance_embeds:
        return Defaults(side=1024, steps=28, guidance=3.5, cfg=1.0, max_tokens=min(512, own))
    return Defaults(side=1024, steps=4, guidance=0.0, cfg=1.0, max_tokens=min(256, own))


def tokenizer(pipeline: Any) -> Any:
    """The tokenizer that the prompt's words go through."""
    return pipeline.tokenizer_2


def encode_concepts(
    pipeline: Any, concepts: Sequence[Concept], pooling: Pooling, max_tokens: int, reader: Reader
) -> EncodedConcepts:
    """Each concept alone through T5. Source: the authors' `embed_concepts`, which keeps the first token."""
    refuse_clip(reader, TITLE)
    return encode_with_t5(pipeline, pipeline.tokenizer_2, pipeline.text_encoder_2, concepts, pooling, max_tokens)


def call_arguments(pipeline: Any, request: Request, batch: int) -> dict[str, Any]:
    """What this pipeline is called with beside what all are."""
    return {
        "negative_prompt": [request.negative_prompt] * batch if request.cfg > 1 else None,
        "true_cfg_scale": request.cfg,
        "guidance_scale": request.guidance,
    }


layout = flow.layout
outputs = flow.outputs
step_sigma = flow.step_sigma
noised = flow.noised


def schedule_sigma(pipeline: Any, steps: int, step: int, tokens: int) -> float:
    """Sigma (0-1) at a step of the model's own schedule of so many steps, for a picture of so many tokens."""
    scheduler = type(pipeline.scheduler).from_config(pipeline.scheduler.config)
    shift = calculate_shift(tokens, *(scheduler.config.get(name, usual) for name, usual in SHIFT.items()))
    scheduler.set_timesteps(sigmas=np.linspace(1, 1 / steps, steps), mu=shift)
    return float(scheduler.sigmas[step])


def encode_pictures(pipeline: Any, pixels: Tensor) -> Tensor:
    """Pictures (B, 3, H, W), -1 to 1, to packed latents, (B, N, D), in the transformer's dtype."""
    return flux.pack_latents(flow.scaled(pipeline, flow.encode(pipeline, pixels))).to(pipeline.transformer.dtype)


def conditions(
    pipeline: Any, prompt: str, batch: int, width: int, height: int, noise: float, latents: Tensor, max_tokens: int
) -> dict[str, Any]:
    """The transformer's arguments beside the latents.

    Source: the authors' `encode_image`: a zero pooled vector and zero guidance for picture and text as well.
    """
    device, dtype = pipeline._execution_device, pipeline.transformer.dtype
    text, pooled, text_ids = pipeline.encode_prompt(
        prompt=[prompt] * batch, prompt_2=None, device=device, max_sequence_length=max_tokens
    )
    guided = pipeline.transformer.config.guidance_embeds
    return {
        "encoder_hidden_states": text.to(dtype),
        "pooled_projections": torch.zeros_like(pooled, dtype=dtype),
        "timestep": flow.full(pipeline, batch, noise),
        "guidance": torch.zeros(batch, device=device) if guided else None,
        "img_ids": flux.position_ids(height // 16, width // 16, device).to(dtype),
        "txt_ids": text_ids,
    }
