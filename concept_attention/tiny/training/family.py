"""What training needs to know about an architecture family."""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from diffusers import FlowMatchEulerDiscreteScheduler
from torch import Tensor

from ...hosts.diffusers.pipelines.request import Request
from ...hosts.diffusers.registry import family_of
from ...scores import MODES, Mode
from ..models.autoencoders import linear_vae
from ..models.codec import LinearCodec
from ..models.flux import SHIFT
from ..models.parts import JointParts, Parts
from ..models.texts import TEXT_TOKENS
from ..world.clips import draw_landscape
from ..world.scenes import Scene
from .pool import training_prompt
from .process import FLOW, Process

PROMPTED = 0.75  # share of the images shown with their prompt to a model whose pooled vector cannot be zeroed


@dataclass(frozen=True)
class Stage:
    """A part of a run.

    Attributes:
        until: share of the run's time, 0-1, at which it ends.
        sizes: (width, height) of the scenes in pixels.
        frames: of every scene; 1 is an image.
    """

    until: float
    sizes: tuple[tuple[int, int], ...]
    frames: int = 1


def stochastic_flow() -> FlowMatchEulerDiscreteScheduler:
    """A scheduler that draws fresh noise at every step, so that a small model's early mistakes are forgotten."""
    return FlowMatchEulerDiscreteScheduler(shift=SHIFT, stochastic_sampling=True)


def draw_by_host(pipeline: Any, prompts: Sequence[str], side: int, frames: int) -> Tensor:
    """Latents of images or clips, made with the arguments that the diffusers host gives such a pipeline."""
    host = family_of(pipeline)
    request = Request(negative_prompt="", width=side, height=side, frames=frames, guidance=0.0, cfg=3.0)
    made = pipeline(
        list(prompts),
        **host.call_arguments(pipeline, request, len(prompts)),
        **sampling(side),
        max_sequence_length=TEXT_TOKENS,
    )
    latents: Tensor = host.outputs(made)
    return latents


def sampling(side: int) -> dict[str, Any]:
    """Arguments of every pipeline that makes samples of a run."""
    noise = torch.Generator().manual_seed(0)
    return {"width": side, "height": side, "num_inference_steps": 16, "generator": noise, "output_type": "latent"}


@dataclass(frozen=True)
class Family:
    """One architecture.

    Attributes:
        build: makes new parts.
        modules: name of each part in a pipeline.
        assemble: makes a pipeline of the parts by those names, `vae` and `scheduler`; it adds the tokenizers.
        velocity: the model's prediction, shaped like its latents. Given its parts, noisy latents (B, 16, h, w) or, of
            clips, (B, F, 16, h, w), their noise levels (B,), 0-1, ids for T5 and for CLIP, (B, tokens), and a random
            number per image, 0-1, (B, 1), that decides how much of the prompt is shown.
        unpack: a pipeline's latents, given the number of token rows, to latents as above.
        draw: makes latents of images or clips, as a pipeline has them, given the pipeline, prompts, pixels of a side
            and frames.
        stages: of a run, in order. A run that continues a finished model has only the last.
        lengths: numbers of text tokens; near the end of a run they are drawn from these.
        map_layers: joint blocks whose maps are taught: those that a heatmap uses by default. None: nothing is taught.
        mode: scoring mode of the taught maps, the one that a heatmap uses by default.
        scene: draws a scene, given its seed, width, height and frames; of a module.
        prompt: a prompt for a scene, drawn from a generator of random numbers.
        output: the last layer, of given parts; it begins with zeros.
        process: the diffusion process.
        scheduler: makes the pipeline's scheduler.
        vae: makes an autoencoder whose encoder is a codec and whose decoder is untrained.
    """

    build: Callable[[], Any]
    modules: Mapping[str, str]
    assemble: Callable[..., Any]
    velocity: Callable[[Any, Tensor, Tensor, Tensor, Tensor, Tensor], Tensor]
    unpack: Callable[[Tensor, int], Tensor]
    stages: tuple[Stage, ...]
    lengths: tuple[int, ...]
    draw: Callable[[Any, Sequence[str], int, int], Tensor] = draw_by_host
    map_layers: tuple[int, ...] = ()
    mode: Mode = MODES["flux"]
    scene: Callable[[int, int, int, int], Scene] = draw_landscape
    prompt: Callable[[Scene, random.Random], str] = training_prompt
    output: Callable[[Any], Any] = lambda parts: parts.transformer.proj_out
    process: Process = FLOW
    scheduler: Callable[[], Any] = stochastic_flow
    vae: Callable[[LinearCodec], Any] = linear_vae

    def stage(self, done: float, continued: bool = False) -> Stage:
        """The stage of a run after `done` (0-1) of its time; `continued` runs begin with a finished model."""
        left = [stage for stage in self.stages if done < stage.until and not continued]
        return left[0] if left else self.stages[-1]

    @property
    def clips(self) -> bool:
        """Whether the model makes clips."""
        return self.stages[-1].frames > 1

    def sample(self, pipeline: Any, prompts: Sequence[str], side: int) -> Tensor:
        """Latents of square images, (B, 16, h, w), or clips, (B, F, 16, h, w), always from the same noise."""
        return self.unpack(self.draw(pipeline, prompts, side, self.stages[-1].frames), side // 16)

    def decode(self, vae: Any, latents: Tensor) -> Tensor:
        """Decode latents (B, 16, h, w) to images (B, 3, H, W), -1 to 1; a VAE of clips gets clips of one frame."""
        return vae.decode(latents[:, :, None]).sample[:, :, 0] if self.clips else vae.decode(latents).sample

    def pipeline(self, parts: Parts, codec: LinearCodec) -> Any:
        """The parts as a pipeline; the encoder of its autoencoder is the codec, the decoder is untrained."""
        own = {self.modules[part]: module for part, module in parts.modules().items()}
        return self.assemble(**own, vae=self.vae(codec), scheduler=self.scheduler())

    def parts_of(self, pipeline: Any) -> Any:
        """The trained parts of a pipeline."""
        parts = self.build()
        for part, name in self.modules.items():
            setattr(parts, part, getattr(pipeline, name))
        return parts


def encode_t5(parts: JointParts, ids: Tensor) -> Tensor:
    """T5's hidden states of ids (B, T). Padding is not masked, as in the pipelines."""
    return parts.t5(input_ids=ids, attention_mask=torch.ones_like(ids)).last_hidden_state


def drop_prompts(ids: Tensor, chance: Tensor, row: Callable[[list[int], int], list[int]]) -> Tensor:
    """Replace the ids (B, T) of the images whose `chance` (B, 1) is PROMPTED or more by those of an empty prompt.

    Images are analysed with an empty prompt unless one is given.

    Args:
        ids: padded token ids.
        chance: random numbers, 0-1.
        row: makes padded ids from the ids of words and a length.
    """
    return torch.where(chance < PROMPTED, ids, torch.tensor(row([], ids.shape[1]), device=ids.device))
