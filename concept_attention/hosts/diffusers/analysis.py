"""The concepts of existing images: add noise, evaluate the model once, stop after the last kept joint block."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import torch
from PIL import Image
from torch import Tensor

from ...choices import Attends, Keep, Pooling, Reader
from ...concepts import Concept
from ...errors import UserError
from ...recording.mirror import with_mirrored
from ...recording.recording import Recording, in_float16
from ...vectors import OnVectors
from ..unknown_words import warn_of_unknown_words
from .encode import as_concepts, encode_concepts
from .loading import defaults_for, score_dtype
from .pictures import Picture, as_images, scaled
from .pipelines.request import Request, check_side, model_name, warn_outside_training
from .recorder import Recorder
from .registry import family_of
from .run_hooks import StopForward

_KEPT_CONDITIONS = 16  # pictures of many sizes must not fill the device with encoded prompts


@torch.no_grad()
def analyze(
    pipeline: Any,
    image: Picture | Sequence[Picture],
    concepts: str | Sequence[Concept | str],
    *,
    prompt: str = "",
    noise: float = 0.5,
    samples: int = 1,
    width: int | None = None,
    height: int | None = None,
    seed: int = 0,
    layers: str | int | Sequence[int] = "all",
    mode: str = "auto",
    pooling: Pooling = "auto",
    reader: Reader = "auto",
    max_tokens: int | None = None,
    dtype: str | torch.dtype = "float32",
    on_step: Callable[[int, int], None] | None = None,
    on_vectors: OnVectors | None = None,
    attends: Attends = "both",
    flip: bool = False,
) -> Recording:
    """Record where the concepts are in existing images, or in a video.

    Args:
        pipeline: from `load_pipeline`.
        image: an image, or several of one size: paths, Pillow images, arrays or tensors, see `as_images`. A video
            model takes several as the frames of one video: 8 n + 1 for CogVideoX, 17 n + 5 for MiniMax-H3.
        concepts: what to look for: from `parse_concepts`, or as written, such as `["house", "sky"]`.
        prompt: what the image shows; may be empty.
        noise: noise level (sigma) that is added, above 0 (the image) up to 1 (only noise).
        samples: independent noises; they are the recording's steps and are averaged by `make_heatmaps`.
        width, height: pixels the model gets, multiples of its tokens' size: of 16, in HunyuanImage and MiniMax-H3 of
            32. With one of them the aspect ratio is kept; with none it is kept at about the model's own size.
        seed: of the first noise; noise i has seed + i, is the same for every image, and is the one that this seed gives
            in ComfyUI and, for float32 weights on the CPU, in the authors' code.
        layers, mode, pooling, reader, max_tokens, dtype, on_vectors: see `generate`.
        on_step: called after each sample with (samples done, samples in all).
        attends: what the concepts attend to; see `choices.Attends`.
        flip: also look at the image mirrored left to right, with the same noises, which takes twice the time. These are
            further samples; their maps are turned back.

    Returns:
        A recording whose grid covers the whole image and whose image size is the original's.

    Raises:
        UserError: for a noise level or number of samples out of range, no image, images of different sizes, a number
            of frames that the model cannot take, sides that are no multiples of a token's, a pipeline that lacks a part
            or makes nothing from a prompt alone, `flip` together with `on_vectors`, and as `as_images`,
            `encode_concepts` and `Recorder`.

    Example:
        >>> from PIL import Image
        >>> from concept_attention.concepts import parse_concepts
        >>> from concept_attention.hosts.diffusers import analyze, load_pipeline
        >>> pipeline = load_pipeline("tiny", device="cpu")
        >>> image = Image.new("RGB", (128, 64), "skyblue")
        >>> recording = analyze(pipeline, image, parse_concepts("sky, grass"), width=64, samples=2)
        >>> recording.grid, recording.image_size, recording.sigmas
        ((1, 2, 4), (64, 128), (0.5, 0.5))
        >>> recording.scores.shape  # samples, layers, images, concepts, image tokens
        torch.Size([2, 4, 1, 2, 8])

    Source: the authors' `encode_image`.
    """
    concepts, family = as_concepts(concepts), family_of(pipeline)
    family.check_parts(pipeline)
    if flip and on_vectors is not None:
        raise UserError("Vectors are shown of an image as it is. Leave out flip or on_vectors.")
    images = as_images(image, family.video)
    _check_images(images)
    width, height = shown_size(pipeline, images[0].size, width, height)
    analysis = ImageAnalysis(
        pipeline,
        concepts,
        prompt=prompt,
        noise=noise,
        samples=samples,
        layers=layers,
        mode=mode,
        pooling=pooling,
        reader=reader,
        max_tokens=max_tokens,
        dtype="float32" if flip else dtype,
        on_vectors=on_vectors,
        attends=attends,
    )
    warn_outside_training(pipeline, width, height, len(images) if family.video else 1, noise)
    pixels, seeds = scaled(images, width, height), [seed] * len(images)
    if flip:
        first, second = _halves(on_step)
        recording = with_mirrored(
            analysis.record(pixels, seeds, first), analysis.record(pixels.flip(-1), seeds, second)
        )
        recording = in_float16(recording) if score_dtype(dtype) == torch.float16 else recording
    else:
        recording = analysis.record(pixels, seeds, on_step)
    notes = {**recording.metadata, "seed": str(seed)}
    original = images[0].size
    return replace(recording, image_size=(original[1], original[0]), metadata=notes)


class ImageAnalysis:
    """The analysis of any number of image batches with the same concepts: their texts are encoded once.

    Args: see `analyze`, and for `keep` see `generate`.

    Raises:
        UserError: as `analyze`.

    Source: the authors' `encode_image`.
    """

    def __init__(
        self,
        pipeline: Any,
        concepts: str | Sequence[Concept | str],
        *,
        prompt: str = "",
        noise: float = 0.5,
        samples: int = 1,
        layers: str | int | Sequence[int] = "all",
        mode: str = "auto",
        pooling: Pooling = "auto",
        reader: Reader = "auto",
        max_tokens: int | None = None,
        dtype: str | torch.dtype = "float32",
        keep: Keep = "every step",
        on_vectors: OnVectors | None = None,
        attends: Attends = "both",
    ) -> None:
        if not 0 < noise <= 1:
            raise UserError(f"Noise must be above 0 and at most 1, got {noise:g}. 0.3 to 0.6 works best.")
        if samples < 1:
            raise UserError(f"There must be at least one noise sample, got {samples}.")
        self._pipeline, self._family = pipeline, family_of(pipeline)
        self._defaults = defaults_for(pipeline)
        self._max_tokens = self._defaults.max_tokens if max_tokens is None else max_tokens
        warn_of_unknown_words(self._family.tokenizer(pipeline), [prompt])
        self._encoded = encode_concepts(pipeline, concepts, pooling, self._max_tokens, reader)
        self._layers: str | Sequence[int] = [layers] if isinstance(layers, int) else layers
        self._mode, self._dtype, self._keep = mode, score_dtype(dtype), keep
        self._on_vectors = on_vectors
        self._attends: Attends = attends
        self._prompt, self._noise, self._samples = prompt, noise, samples
        self._inputs: dict[tuple[int, ...], dict[str, Any]] = {}  # of the transformer, by batch and size

    @torch.no_grad()
    def record(
        self, pixels: Tensor, seeds: Sequence[int], on_step: Callable[[int, int], None] | None = None
    ) -> Recording:
        """Record where the concepts are in a batch of images, or in a video.

        Args:
            pixels: the images, or the frames of the video, (B, 3, H, W), -1 to 1; H and W multiples of a token's.
            seeds: of the first noise of each image; noise i of an image has its seed + i. A video has one, the first.
            on_step: called after each sample with (samples done, samples in all).

        Returns:
            A recording whose image size is that of the pixels.
        """
        pipeline, family = self._pipeline, self._family
        height, width = pixels.shape[-2:]
        frames = len(pixels) if family.video else 1
        layout = family.layout(pipeline, width, height, frames)
        request = Request("", width, height, frames, self._defaults.guidance, cfg=1.0)
        recorder = Recorder(
            pipeline,
            self._encoded,
            self._layers,
            self._mode,
            layout.tokens,
            self._dtype,
            keep=self._keep,
            on_vectors=self._on_vectors,
            attends=self._attends,
        )
        latents = family.encode_images(pipeline, pixels)
        with recorder.watching(stop_after_last_layer=True):
            network = family.network_at(pipeline, self._noise)  # not a compiled one
            conditions = self._conditions(latents, request)
            for sample in range(self._samples):
                fresh = self._fresh_noise(latents, [seed + sample for seed in seeds])
                noised = family.noised(pipeline, latents, fresh, self._noise)
                with contextlib.suppress(StopForward):
                    network(**{**family.shown(pipeline, conditions, noised), "return_dict": False})
                recorder.commit(sample, self._noise)
                if on_step is not None:
                    on_step(sample + 1, self._samples)
        if hasattr(pipeline, "maybe_free_model_hooks"):  # a modular pipeline has none
            pipeline.maybe_free_model_hooks()
        notes = {"prompt": self._prompt, "model": model_name(pipeline)}
        return recorder.build(layout.grid, (height, width), notes, layout.frame_counts)

    def _conditions(self, latents: Tensor, request: Request) -> dict[str, Any]:
        """What the transformer gets besides the latents; the prompt is encoded anew only for another batch or size."""
        key = (*latents.shape, request.width, request.height)
        if key not in self._inputs:
            while len(self._inputs) >= _KEPT_CONDITIONS:
                del self._inputs[next(iter(self._inputs))]
            self._inputs[key] = self._family.conditions(
                self._pipeline, self._prompt, latents, request, self._noise, self._max_tokens
            )
        return self._inputs[key]

    def _fresh_noise(self, latents: Tensor, seeds: Sequence[int]) -> Tensor:
        """Noise for every image, (B, ...), or for one that is the same for all, without the batch."""
        if len(set(seeds)) == 1:
            return self._family.fresh_noise(latents[0], seeds[0])
        return torch.stack(
            [self._family.fresh_noise(latent, seed) for latent, seed in zip(latents, seeds, strict=True)]
        )


OnStep = Callable[[int, int], None]


def _halves(on_step: OnStep | None) -> tuple[OnStep | None, OnStep | None]:
    """The callbacks of two runs that are the first and the second half of the work."""
    if on_step is None:
        return None, None
    return lambda done, total: on_step(done, 2 * total), lambda done, total: on_step(total + done, 2 * total)


def _check_images(images: Sequence[Image.Image]) -> None:
    if not images:
        raise UserError("There is no image. Give at least one.")
    sizes = sorted({one.size for one in images})
    if len(sizes) > 1:
        raise UserError(f"Images of a batch must have one size, got {sizes}. Analyze them one by one.")


def shown_size(
    pipeline: Any, size: tuple[int, int], width: int | None = None, height: int | None = None
) -> tuple[int, int]:
    """The (width, height) in pixels that an image is analyzed with.

    Args:
        pipeline: of a known family.
        size: (width, height) of the image, pixels.
        width, height: pixels asked for, or None.

    Raises:
        UserError: if `width` or `height` is no positive multiple of the side of a token.
    """
    family = family_of(pipeline)
    unit = family.token_pixels(pipeline)
    if width is not None:
        check_side("Width", width, unit)
    if height is not None:
        check_side("Height", height, unit)
    scale = defaults_for(pipeline).side / math.sqrt(size[0] * size[1])
    if width is not None:
        scale = width / size[0]
    elif height is not None:
        scale = height / size[1]
    asked = (
        width or max(1, round(size[0] * scale / unit)) * unit,
        height or max(1, round(size[1] * scale / unit)) * unit,
    )
    return asked if width or height else family.made_size(pipeline, *asked)
