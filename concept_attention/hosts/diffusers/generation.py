"""Pictures from prompts, with the recording of where their concepts were placed."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
from PIL.Image import Image

from ...choices import Keep, Pooling, Reader
from ...concepts import Concept
from ...recording.recording import Recording
from ..unknown_words import warn_of_unknown_words
from .encode import encode_concepts
from .loading import defaults_for
from .pipelines.request import Request, model_name
from .recorder import Recorder
from .registry import family_of

logger = logging.getLogger("concept_attention")


@dataclass(frozen=True, eq=False)
class Result:
    """What was generated and its recording.

    Attributes:
        images: a picture per prompt; none where videos were made.
        videos: the frames of a video per prompt.
    """

    images: list[Image]
    recording: Recording
    videos: list[list[Image]] = field(default_factory=list)


def generate(
    pipeline: Any,
    prompt: str | Sequence[str],
    concepts: Sequence[Concept],
    *,
    negative_prompt: str = "",
    width: int | None = None,
    height: int | None = None,
    frames: int | None = None,
    steps: int | None = None,
    guidance: float | None = None,
    cfg: float | None = None,
    seed: int = 0,
    layers: str | Sequence[int] = "all",
    mode: str = "auto",
    pooling: Pooling = "auto",
    reader: Reader = "auto",
    max_tokens: int | None = None,
    dtype: torch.dtype = torch.float32,
    keep: Keep = "every step",
    on_step: Callable[[int, int], None] | None = None,
) -> Result:
    """Generate one picture, or video, per prompt and record its concepts at every step.

    They are bit-identical to those the pipeline makes without concepts; where its scheduler draws noise of its
    own, to those it makes after `torch.manual_seed(seed)`.

    Args:
        pipeline: as `load_pipeline` gives it.
        prompt: one prompt, or a batch.
        concepts: what to look for, the same in every picture.
        negative_prompt: used where `cfg` is above 1.
        width, height: pixels, multiples of 16; None is the model's own size.
        frames: of a video, as many as the model's VAE makes: 8 n + 1 for CogVideoX; None is the model's own number.
        steps: sampler steps.
        guidance: distilled guidance, for models that embed it (dev).
        cfg: classifier-free guidance scale; 1 is off. Only the conditional evaluation is recorded.
        seed: of the first picture; picture i has seed + i and, unless the scheduler draws noise, is what it would be
            alone.
        layers: joint blocks to keep: `all`, `auto`, `15-18`, `3,7`.
        mode: fidelity mode, a key of `scores.MODES`.
        pooling, reader: see `encode_concepts`.
        max_tokens: length that prompts and concepts are padded to; None is the model's own.
        dtype: of the kept scores.
        keep: every step, or one map per layer, the running mean of what the mode averages: for long runs and videos. A
            recording that will pass 1 GiB is warned of.
        on_step: called after each step with (steps done, steps in all).

    Raises:
        ValueError: for sizes that are not multiples of 16, and as `encode_concepts` and `Recorder`.

    Source: arXiv:2502.04320, Sec. 4.
    """
    family, defaults = family_of(pipeline), defaults_for(pipeline)
    prompts = [prompt] if isinstance(prompt, str) else list(prompt)
    request = Request(
        negative_prompt,
        width=defaults.width if width is None else width,
        height=defaults.height if height is None else height,
        frames=defaults.frames if frames is None else frames,
        guidance=defaults.guidance if guidance is None else guidance,
        cfg=defaults.cfg if cfg is None else cfg,
    )
    steps = defaults.steps if steps is None else steps
    max_tokens = defaults.max_tokens if max_tokens is None else max_tokens
    _check(prompts, request, steps)
    layout = family.layout(pipeline, request.width, request.height, request.frames)
    arguments = family.call_arguments(pipeline, request, len(prompts))
    warn_of_unknown_words(family.tokenizer(pipeline), prompts)
    encoded = encode_concepts(pipeline, concepts, pooling, max_tokens, reader)
    recorder = Recorder(pipeline, encoded, layers, mode, layout.tokens, dtype, len(prompts), keep)
    if warning := recorder.size_warning(steps, len(prompts)):
        logger.warning(warning)

    def after_step(pipe: Any, step: int, timestep: Any, tensors: dict[str, Any]) -> dict[str, Any]:
        recorder.commit(step, family.step_sigma(pipe.scheduler, step, timestep))
        if on_step is not None:
            on_step(step + 1, pipe.num_timesteps)
        return {}

    with recorder.watching(), _seeded(pipeline, seed):
        output = pipeline(
            prompt=prompts,
            width=request.width,
            height=request.height,
            num_inference_steps=steps,
            generator=[torch.Generator().manual_seed(seed + index) for index in range(len(prompts))],
            max_sequence_length=max_tokens,
            callback_on_step_end=after_step,
            **arguments,
        )
    notes = {"prompt": "\n".join(prompts), "seed": str(seed), "model": model_name(pipeline)}
    recording = recorder.build(layout.grid, (request.height, request.width), notes, layout.frame_counts)
    made = family.outputs(output)
    return Result([], recording, made) if family.VIDEO else Result(made, recording)


@contextmanager
def _seeded(pipeline: Any, seed: int) -> Iterator[None]:
    """Seed the noise a stochastic scheduler draws: pipelines hand it no generator, so torch's own is lent to it."""
    device = pipeline._execution_device
    with torch.random.fork_rng([device] if device.type == "cuda" else []):
        torch.manual_seed(seed)
        yield


def _check(prompts: Sequence[str], request: Request, steps: int) -> None:
    if not prompts:
        raise ValueError("There is no prompt. Give at least one.")
    for name, side in (("Width", request.width), ("Height", request.height)):
        if side < 16 or side % 16:
            raise ValueError(f"{name} must be a positive multiple of 16, got {side}. Try {max(1, side // 16) * 16}.")
    if steps < 1:
        raise ValueError(f"There must be at least one step, got {steps}.")
