"""Cosmos's pipelines: those of Cosmos 1, Predict 2 and Predict 2.5 that begin with a prompt alone, and all others.

Follows diffusers/pipelines/cosmos/pipeline_cosmos_text2world.py and pipeline_cosmos2_text2image.py (0.42). Their noise
levels are ratios of the noise's standard deviation to the image's. Predict 2 gets the sum of both over one and the
ratio: the mixture of flow matching. Cosmos 1 gets it at a standard deviation of one: there the squares add up to one.
Predict 2.5's schedule is that of flow matching itself.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from diffusers import EDMEulerScheduler
from torch import Tensor

from .other import OtherFamily
from .request import Request


class CosmosFamily(OtherFamily):
    """See `OtherFamily`."""

    def step_sigma(self, scheduler: Any, step: int, timestep: Any) -> float:
        ratio = super().step_sigma(scheduler, step, timestep)
        if scheduler.config.get("use_flow_sigmas"):
            return ratio
        ratio /= scheduler.config.get("sigma_data") or 1.0
        return ratio / (math.hypot(1, ratio) if isinstance(scheduler, EDMEulerScheduler) else 1 + ratio)

    def noised(self, pipeline: Any, latents: Tensor, fresh: Tensor, noise: float) -> Tensor:
        if isinstance(pipeline.scheduler, EDMEulerScheduler):
            return noise * fresh + math.sqrt(1 - noise * noise) * latents
        return super().noised(pipeline, latents, fresh, noise)

    def conditions(
        self, pipeline: Any, prompt: str, latents: Tensor, request: Request, noise: float, max_tokens: int
    ) -> dict[str, Any]:
        """As in `OtherFamily`; these pipelines take the timestep of their model from the schedule's noise levels.

        It is the noise level, also where every frame has one. That of Cosmos 1 is a quarter of the logarithm of its
        schedule's, which ends.
        """
        given = super().conditions(pipeline, prompt, latents, request, noise, max_tokens)
        timestep, config = noise, pipeline.scheduler.config
        if isinstance(pipeline.scheduler, EDMEulerScheduler):
            ratio = noise / math.sqrt(1 - noise * noise) if noise < 1 else math.inf
            timestep = math.log(min(ratio * config.sigma_data, config.sigma_max)) / 4
        return {**given, "timestep": torch.full_like(given["timestep"], timestep)}
