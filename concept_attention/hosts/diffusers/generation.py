"""Images and videos from prompts, with the recording of their concepts."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from PIL.Image import Image

from ...choices import Keep, Pooling, Reader
from ...concepts import Concept
from ...errors import UserError
from ...recording.recording import Recording
from ...vectors import OnVectors
from ..unknown_words import warn_of_unknown_words
from .encode import as_concepts, encode_concepts
from .loading import defaults_for, score_dtype
from .pipelines.request import Request, check_side, warn_outside_training
from .record import recording_run
from .registry import family_of, refuse_other_arguments


@dataclass(frozen=True, eq=False)
class Result:
    """What was generated and its recording.

    Attributes:
        images: one per prompt; none if videos were made.
        recording: of the concepts.
        videos: the frames of a video per prompt.
    """

    images: list[Image]
    recording: Recording
    videos: list[list[Image]] = field(default_factory=list)


def generate(
    pipeline: Any,
    prompt: str | Sequence[str],
    concepts: str | Sequence[Concept | str],
    *,
    negative_prompt: str | Sequence[str] = "",
    width: int | None = None,
    height: int | None = None,
    frames: int | None = None,
    steps: int | None = None,
    guidance: float | None = None,
    cfg: float | None = None,
    seed: int = 0,
    layers: str | int | Sequence[int] = "all",
    mode: str = "auto",
    pooling: Pooling = "auto",
    reader: Reader = "auto",
    max_tokens: int | None = None,
    dtype: str | torch.dtype = "float32",
    keep: Keep = "every step",
    on_step: Callable[[int, int], None] | None = None,
    on_vectors: OnVectors | None = None,
) -> Result:
    """Generate one image, or video, per prompt and record its concepts at every step.

    They are bit-identical to what the pipeline makes without concepts; if its scheduler draws noise of its own, to
    what it makes after `torch.manual_seed(seed)`.

    Args:
        pipeline: from `load_pipeline`, one that makes images or videos from prompts alone; for others see `record`.
        prompt: one prompt, or a batch; Flux 3 and MiniMax-H3 take one at a time.
        concepts: what to look for, the same in every image: from `parse_concepts`, or as written, such as
            `["house", "sky"]`.
        negative_prompt: used if `cfg` is above 1; one for all prompts, or as many as there are.
        width, height: pixels, multiples of 16 (in HunyuanImage and MiniMax-H3 of 32); None is the model's own size.
        frames: number of frames of a video: 8 n + 1 for CogVideoX, 17 n + 5 for MiniMax-H3, 4 n + 1 for most; None is
            the model's own number.
        steps: sampler steps, as the pipeline counts them (MiniMax-H3 evaluates one less); None is the model's own
            number.
        guidance: distilled guidance, for models that embed it (dev); None is the model's own.
        cfg: classifier-free guidance scale; 1 is off, None is the model's own. Only the conditional evaluation is
            recorded.
        seed: of the first image; image i has seed + i and, unless the scheduler draws noise, is what it would be
            alone.
        layers: joint blocks to keep: `all`, `auto`, `15-18`, `3,7`, 2.
        mode: fidelity mode, a key of `scores.MODES`.
        pooling, reader: see `encode_concepts`.
        max_tokens: length that prompts and concepts are padded to; None is the model's own.
        dtype: of the kept scores, `float32` or `float16`, or torch's.
        keep: every step, or one map per layer: the running mean of what the mode averages, for long runs and videos.
            A warning is logged if the recording will pass 1 GiB.
        on_step: called after each step with (steps done, steps in all).
        on_vectors: called with (step, layer, vectors) in every joint block that is recorded, such as `SpaceScores` or
            `KeptVectors` of `concept_attention.vectors`; slower.

    Raises:
        UserError: for sizes that are not multiples of 16, no prompt, another number of negative prompts, fewer than
            one step, frames or guidance that the model does not have, a pipeline that lacks a part, and as
            `encode_concepts` and `Recorder`.

    Example:
        >>> from concept_attention.concepts import parse_concepts
        >>> from concept_attention.hosts.diffusers import generate, load_pipeline
        >>> pipeline = load_pipeline("tiny", device="cpu")
        >>> concepts = parse_concepts("house, tree", background="sky")
        >>> result = generate(pipeline, "a red house and a tree", concepts, width=64, height=64, steps=2)
        >>> result.images[0].size
        (64, 64)
        >>> result.recording.scores.shape  # steps, layers, images, concepts, image tokens
        torch.Size([2, 4, 1, 3, 16])

    Source: arXiv:2502.04320, Sec. 4.
    """
    concepts, family = as_concepts(concepts), family_of(pipeline)
    refuse_other_arguments(pipeline)
    family.check_parts(pipeline)
    prompts = _texts("prompt", prompt)
    defaults = defaults_for(pipeline)
    steps = defaults.steps if steps is None else steps
    max_tokens = defaults.max_tokens if max_tokens is None else max_tokens
    given: dict[str, Any] = {"width": width, "height": height, "frames": frames, "guidance": guidance, "cfg": cfg}
    request = Request(
        negative_prompt if isinstance(negative_prompt, str) else _texts("negative_prompt", negative_prompt),
        **{name: getattr(defaults, name) if value is None else value for name, value in given.items()},
    )
    family.check_prompts(prompts, request)
    check_side("Width", request.width, family.token_pixels(pipeline))
    check_side("Height", request.height, family.token_pixels(pipeline))
    _check_steps(steps, family.min_steps, family.max_steps(pipeline))
    family.layout(pipeline, request.width, request.height, request.frames)  # refuses what cannot be made
    family.call_arguments(pipeline, request, len(prompts))  # and such guidance
    warn_outside_training(pipeline, request.width, request.height, request.frames)
    warn_of_unknown_words(family.tokenizer(pipeline), prompts)
    encoded = encode_concepts(pipeline, concepts, pooling, max_tokens, reader)
    layers = [layers] if isinstance(layers, int) else layers
    notes = {"prompt": "\n".join(prompts), "seed": str(seed)}
    kept = score_dtype(dtype)
    generators = [torch.Generator().manual_seed(seed + index) for index in range(len(prompts))]
    with recording_run(pipeline, encoded, layers, mode, kept, keep, notes, seed, on_vectors, on_step) as recording:
        made = family.call(pipeline, prompts, request, steps, generators, max_tokens)
    return Result([], recording, made) if family.video else Result(made, recording)


def _texts(what: str, given: str | Sequence[str]) -> list[str]:
    texts = [given] if isinstance(given, str) else list(given) if isinstance(given, Sequence) else [given]
    for text in texts:
        if not isinstance(text, str):
            raise UserError(f"`{what}` is a text or a list of texts, got {type(text).__name__}.")
    return texts


def _check_steps(steps: int, min_steps: int, max_steps: int | None) -> None:
    if steps < min_steps:
        raise UserError(
            f"There must be at least {'one step' if min_steps == 1 else f'{min_steps} steps'}, got {steps}."
        )
    if max_steps is not None and steps > max_steps:
        raise UserError(f"This model's scheduler makes at most {max_steps} steps, got {steps}. Ask for fewer.")
