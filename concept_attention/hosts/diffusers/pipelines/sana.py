"""Sana's pipelines, of images and of videos, that begin with a prompt alone."""

from __future__ import annotations

import math
from typing import Any

from ..networks import network_of
from .other import OtherFamily


class SanaFamily(OtherFamily):
    """See `OtherFamily`. Sana Sprint, whose guidance is embedded, is recorded only: its latents lie on a circle."""

    def prompt_options(self, pipeline: Any) -> dict[str, Any]:
        """The instruction that a prompt stands behind."""
        usual = self.usual(pipeline)
        return {name: usual[name] for name in ("complex_human_instruction",) if name in usual}

    def prompt_rows(self, pipeline: Any, batch: int) -> slice | None:
        distilled = network_of(pipeline).config.get("guidance_embeds")
        return self.image_rows(batch) if distilled else super().prompt_rows(pipeline, batch)

    def step_sigma(self, scheduler: Any, step: int, timestep: Any) -> float:
        """As in `OtherFamily`; the timesteps of Sprint's scheduler are angles, and the noise's share is their sine."""
        angles = not hasattr(scheduler, "sigmas") and not hasattr(scheduler, "alphas_cumprod")
        return math.sin(float(timestep.flatten()[0])) if angles else super().step_sigma(scheduler, step, timestep)
