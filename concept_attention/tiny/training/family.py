"""What training has to know of an architecture."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from diffusers import FlowMatchEulerDiscreteScheduler
from torch import Tensor

from ...scores import MODES, Mode
from ..models.autoencoders import linear_vae
from ..models.codec import LinearCodec
from ..models.flux import SHIFT, Parts
from .process import FLOW, Process

PROMPTED = 0.75  # share of the pictures that a model without another way to say nothing is shown with their prompt


@dataclass(frozen=True)
class Stage:
    """A part of a run: up to `until` (0-1) of its time, on scenes of `sizes`, (width, height) in pixels, and `frames`.

    One frame is a picture.
    """

    until: float
    sizes: tuple[tuple[int, int], ...]
    frames: int = 1


def stochastic_flow() -> FlowMatchEulerDiscreteScheduler:
    """Fresh noise at every step: a small model's early mistakes are forgotten instead of carried to the end."""
    return FlowMatchEulerDiscreteScheduler(shift=SHIFT, stochastic_sampling=True)


@dataclass(frozen=True)
class Kind:
    """One architecture.

    Attributes:
        build: makes new parts.
        modules: a pipeline's name for each part.
        assemble: makes a pipeline of the parts by those names, `vae` and `scheduler`; tokenizers are its own matter.
        velocity: what the model predicts, like its latents, given its parts, noisy latents (B, 16, h, w), of clips
            (B, F, 16, h, w), their noise levels (B,), 0-1, ids of T5 and of CLIP, (B, tokens), and a random number per
            picture, 0-1, (B, 1), by which some are shown less of their prompt.
        unpack: a pipeline's latents, as it gives them, to latents as above, for so many rows of tokens.
        map_layers: joint blocks whose maps are taught: those that are read by default.
        mode: name of the mode they are read in by default.
        stages: of a run, in order. A run that goes on from a finished model has only the last.
        lengths: text tokens; near the end of a run they are drawn from these.
        process: what is noise to the model.
        scheduler: makes the pipeline's.
        vae: makes an autoencoder whose encoder is a codec and whose decoder knows nothing yet.
    """

    build: Callable[[], Any]
    modules: Mapping[str, str]
    assemble: Callable[..., Any]
    velocity: Callable[[Any, Tensor, Tensor, Tensor, Tensor, Tensor], Tensor]
    unpack: Callable[[Tensor, int], Tensor]
    map_layers: tuple[int, ...]
    mode: str
    stages: tuple[Stage, ...]
    lengths: tuple[int, ...]
    process: Process = FLOW
    scheduler: Callable[[], Any] = stochastic_flow
    vae: Callable[[LinearCodec], Any] = linear_vae

    def stage(self, done: float, going_on: bool = False) -> Stage:
        """The stage of a run after `done` (0-1) of its time."""
        left = [stage for stage in self.stages if done < stage.until and not going_on]
        return left[0] if left else self.stages[-1]

    @property
    def clips(self) -> bool:
        """Whether it makes clips."""
        return self.stages[-1].frames > 1

    def decode(self, vae: Any, latents: Tensor) -> Tensor:
        """Pictures (B, 3, H, W), -1 to 1, of latents (B, 16, h, w); each is a clip of one frame to a vae of clips."""
        return vae.decode(latents[:, :, None]).sample[:, :, 0] if self.clips else vae.decode(latents).sample

    def reading(self) -> Mode:
        """The mode the maps are read in."""
        return MODES[self.mode]

    def pipeline(self, parts: Parts, codec: LinearCodec) -> Any:
        """The parts as a pipeline; its autoencoder's encoder is the codec, its decoder knows nothing yet."""
        own = {self.modules[part]: module for part, module in parts.modules().items()}
        return self.assemble(**own, vae=self.vae(codec), scheduler=self.scheduler())

    def parts_of(self, pipeline: Any) -> Any:
        """The trained parts of a pipeline."""
        parts = self.build()
        for part, name in self.modules.items():
            setattr(parts, part, getattr(pipeline, name))
        return parts


def encode_t5(parts: Parts, ids: Tensor) -> Tensor:
    """T5's states of ids (B, T). Every token may be attended to, padding included, as pipelines do it."""
    return parts.t5(input_ids=ids, attention_mask=torch.ones_like(ids)).last_hidden_state


def some_emptied(ids: Tensor, chance: Tensor, row: Callable[[list[int], int], list[int]]) -> Tensor:
    """Ids (B, T) of which those with a number (B, 1) from PROMPTED on become those of an empty prompt.

    Pictures are analysed with an empty prompt unless one is given.

    Args:
        row: makes padded ids of the words' ids and a length.
    """
    return torch.where(chance < PROMPTED, ids, torch.tensor(row([], ids.shape[1]), device=ids.device))
