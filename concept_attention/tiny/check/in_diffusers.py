"""A diffusers pipeline as the subject of a check."""

from __future__ import annotations

from contextlib import nullcontext
from typing import Any

import torch
from torch import Tensor

from ...concepts import parse_concepts
from ...embedded import TAUGHT
from ...hosts.diffusers.encode import encode_concepts
from ...hosts.diffusers.loading import defaults_for
from ...hosts.diffusers.pipelines.request import Request, is_tiny
from ...hosts.diffusers.record import record
from ...hosts.diffusers.registry import family_of
from ...recording.recording import Recording
from ..evaluation.landscapes import Prompt, record_scene
from ..world.scenes import Scene
from .subject import ASKED, PROMPT, STEPS


class InDiffusers:
    """See `Subject`.

    Args:
        pipeline: see `load_pipeline`.
        width, height: pixels; None is the model's own.
        frames: of a video; None is the model's own number.
        prompt: what scenes are shown with: no prompt, or their caption.
        mode: to record, see `Recorder`.
    """

    def __init__(
        self,
        pipeline: Any,
        width: int | None = None,
        height: int | None = None,
        frames: int | None = None,
        prompt: Prompt = "none",
        mode: str = "auto",
    ) -> None:
        self._pipeline, self._defaults, self._prompt, self._mode = pipeline, defaults_for(pipeline), prompt, mode
        self.width, self.height = width or self._defaults.width, height or self._defaults.height
        self.frames = frames or self._defaults.frames
        self.device: torch.device = pipeline._execution_device
        self.taught = TAUGHT if is_tiny(pipeline) else ""
        self._encoded = encode_concepts(pipeline, parse_concepts(ASKED), max_tokens=self._defaults.max_tokens)

    def look(self, scene: Scene, noise: float) -> Recording:
        prompt = scene.caption if self._prompt == "caption" else ""
        return record_scene(self._pipeline, scene, prompt=prompt, noise=noise, layers="auto", mode=self._mode)

    def sample(self, recorded: bool) -> Tensor:
        family, own = family_of(self._pipeline), self._defaults
        request = Request("", self.width, self.height, self.frames, own.guidance, own.cfg)
        torch.manual_seed(0)  # schedulers that draw noise take it from here
        with record(self._pipeline, self._encoded, mode=self._mode) if recorded else nullcontext():
            latent: Tensor = family.call(
                self._pipeline, [PROMPT], request, STEPS, [torch.Generator().manual_seed(0)], own.max_tokens, "latent"
            )
        return latent
