"""What training has to know of an architecture."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from diffusers import FlowMatchEulerDiscreteScheduler
from torch import Tensor

from ...scores import Vectors
from ..codec import LinearCodec
from ..model import SHIFT, Parts, build_vae, set_linear_encoder


@dataclass(frozen=True)
class Stage:
    """A part of a run: up to `until` (0-1) of its time, on pictures of `sizes`, (width, height) in pixels."""

    until: float
    sizes: tuple[tuple[int, int], ...]


@dataclass(frozen=True)
class Kind:
    """One architecture.

    Attributes:
        build: makes new parts.
        modules: a pipeline's name for each part.
        assemble: makes a pipeline of the parts by those names, `vae` and `scheduler`; tokenizers are its own matter.
        velocity: what the model predicts, (B, 16, h, w), given its parts, noisy latents (B, 16, h, w), their noise
            levels (B,), 0-1, ids of T5 and of CLIP, (B, tokens), and a random number per picture, 0-1, (B, 1), by which
            some are shown less of their prompt.
        unpack: a pipeline's latents, as it gives them, to (B, 16, h, w), for so many rows of tokens.
        map_layers: joint blocks whose maps are taught: those that are read by default.
        vectors: how they are read by default.
        stages: of a run, in order. A run that goes on from a finished model has only the last.
        lengths: text tokens; near the end of a run they are drawn from these.
    """

    build: Callable[[], Any]
    modules: Mapping[str, str]
    assemble: Callable[..., Any]
    velocity: Callable[[Any, Tensor, Tensor, Tensor, Tensor, Tensor], Tensor]
    unpack: Callable[[Tensor, int], Tensor]
    map_layers: tuple[int, ...]
    vectors: Vectors
    stages: tuple[Stage, ...]
    lengths: tuple[int, ...]

    def stage(self, done: float, going_on: bool = False) -> Stage:
        """The stage of a run after `done` (0-1) of its time."""
        left = [stage for stage in self.stages if done < stage.until and not going_on]
        return left[0] if left else self.stages[-1]

    def pipeline(self, parts: Parts, codec: LinearCodec) -> Any:
        """The parts as a pipeline; its autoencoder's encoder is the codec, its decoder knows nothing yet."""
        autoencoder = build_vae()
        set_linear_encoder(autoencoder, codec)
        # Fresh noise at every step: a small model's early mistakes are forgotten instead of carried to the end.
        scheduler = FlowMatchEulerDiscreteScheduler(shift=SHIFT, stochastic_sampling=True)
        own = {self.modules[part]: module for part, module in parts.modules().items()}
        return self.assemble(**own, vae=autoencoder, scheduler=scheduler)

    def parts_of(self, pipeline: Any) -> Any:
        """The trained parts of a pipeline."""
        parts = self.build()
        for part, name in self.modules.items():
            setattr(parts, part, getattr(pipeline, name))
        return parts


def encode_t5(parts: Parts, ids: Tensor) -> Tensor:
    """T5's states of ids (B, T). Every token may be attended to, padding included, as pipelines do it."""
    return parts.t5(input_ids=ids, attention_mask=torch.ones_like(ids)).last_hidden_state
