"""Pictures from prompts, with the recording of where their concepts were placed."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from PIL.Image import Image

from ...concepts import Concept
from ...recording import Recording
from ..encoded import Pooling
from ..words import warn_of_unknown_words
from .loading import defaults_for, model_name
from .recorder import Recorder
from .text import encode_concepts


@dataclass(frozen=True, eq=False)
class Result:
    """Pictures (one per prompt, or those that were analysed) and their recording."""

    images: list[Image]
    recording: Recording


def generate(
    pipeline: Any,
    prompt: str | Sequence[str],
    concepts: Sequence[Concept],
    *,
    negative_prompt: str = "",
    width: int | None = None,
    height: int | None = None,
    steps: int | None = None,
    guidance: float | None = None,
    cfg: float | None = None,
    seed: int = 0,
    layers: str | Sequence[int] = "all",
    mode: str = "auto",
    pooling: Pooling = "auto",
    max_tokens: int | None = None,
    dtype: torch.dtype = torch.float32,
    on_step: Callable[[int, int], None] | None = None,
) -> Result:
    """Generate one picture per prompt and record its concepts at every step.

    The pictures are bit-identical to those the pipeline makes without concepts; where its scheduler draws noise of its
    own, to those it makes after `torch.manual_seed(seed)`.

    Args:
        pipeline: a FluxPipeline, as `load_pipeline` gives it.
        prompt: one prompt, or a batch.
        concepts: what to look for, the same in every picture.
        negative_prompt: used where `cfg` is above 1.
        width, height: pixels, multiples of 16; None is the model's own size.
        steps: sampler steps.
        guidance: distilled guidance, for models that embed it (dev).
        cfg: classifier-free guidance scale; 1 is off. Only the conditional evaluation is recorded.
        seed: of the first picture; picture i has seed + i and, unless the scheduler draws noise, is what it would be
            alone.
        layers: joint blocks to keep: `all`, `auto`, `15-18`, `3,7`.
        mode: fidelity mode, a key of `scores.MODES`.
        pooling: see `encode_concepts`.
        max_tokens: length that prompts and concepts are padded to; None is the model's own.
        dtype: of the kept scores.
        on_step: called after each step with (steps done, steps in all).

    Raises:
        ValueError: for sizes that are not multiples of 16, and as `encode_concepts` and `Recorder`.

    Source: arXiv:2502.04320, Sec. 4.
    """
    defaults = defaults_for(pipeline)
    prompts = [prompt] if isinstance(prompt, str) else list(prompt)
    width = defaults.side if width is None else width
    height = defaults.side if height is None else height
    steps = defaults.steps if steps is None else steps
    cfg = defaults.cfg if cfg is None else cfg
    max_tokens = defaults.max_tokens if max_tokens is None else max_tokens
    _check(prompts, width, height, steps)
    warn_of_unknown_words(pipeline.tokenizer_2, prompts)
    encoded = encode_concepts(pipeline, concepts, pooling, max_tokens)
    grid = (1, height // 16, width // 16)
    recorder = Recorder(pipeline, encoded, layers, mode, grid[1] * grid[2], dtype)

    def after_step(pipe: Any, step: int, timestep: Any, tensors: dict[str, Any]) -> dict[str, Any]:
        recorder.commit(step, float(pipe.scheduler.sigmas[step]))
        if on_step is not None:
            on_step(step + 1, pipe.num_timesteps)
        return {}

    with recorder.watching(), _seeded(pipeline, seed):
        images = pipeline(
            prompt=prompts,
            negative_prompt=[negative_prompt] * len(prompts) if cfg > 1 else None,
            true_cfg_scale=cfg,
            width=width,
            height=height,
            num_inference_steps=steps,
            guidance_scale=defaults.guidance if guidance is None else guidance,
            generator=[torch.Generator().manual_seed(seed + index) for index in range(len(prompts))],
            max_sequence_length=max_tokens,
            callback_on_step_end=after_step,
        ).images
    notes = {"prompt": "\n".join(prompts), "seed": str(seed), "model": model_name(pipeline)}
    return Result(images, recorder.build(grid, (height, width), notes))


@contextmanager
def _seeded(pipeline: Any, seed: int) -> Iterator[None]:
    """Seed the noise a stochastic scheduler draws: pipelines hand it no generator, so torch's own is lent to it."""
    device = pipeline._execution_device
    with torch.random.fork_rng([device] if device.type == "cuda" else []):
        torch.manual_seed(seed)
        yield


def _check(prompts: Sequence[str], width: int, height: int, steps: int) -> None:
    if not prompts:
        raise ValueError("There is no prompt. Give at least one.")
    for name, side in (("Width", width), ("Height", height)):
        if side < 16 or side % 16:
            raise ValueError(f"{name} must be a positive multiple of 16, got {side}. Try {max(1, side // 16) * 16}.")
    if steps < 1:
        raise ValueError(f"There must be at least one step, got {steps}.")
