"""How pipelines of all other families are run: what they are called with is read from their own signatures (0.42).

An existing image is looked at with what the pipeline itself gives its transformer in a run that begins at that noise
level: the prompt, the positions, the guidance and the timestep are its own.
"""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from ....choices import Pooling, Reader
from ....concepts import Concept
from ....errors import UserError
from ...encoded import EncodedConcepts
from ..adapters import adapter_for, described
from ..eager import eager
from ..networks import network_of
from ..steps import first_timestep, is_diffusion
from .family import PipelineFamily
from .first_evaluation import first_evaluation
from .from_prompts import from_prompts
from .latents import PLAIN, Latents, patched
from .own_encoder import encode_as_prompts
from .request import Defaults, Layout, Request
from .signature import frames_name, guidance_name, guider_scale, usual_arguments

Size = tuple[int, int]  # width and height, pixels


class OtherFamily(PipelineFamily):
    """One of these families.

    Args:
        title: for messages.
        pipelines, names, guidance_in_batch, prompt_first, video: see `PipelineFamily`; without pipelines it can be
            recorded only.
        off: the guidance scale, as the pipeline takes it, that is no guidance.
        usual: values of its arguments in place of its own defaults, and the `frame_rate` of its videos.
        always: further arguments of every call.
        own_negative: whether an empty negative prompt stands for the pipeline's own.
        latents: how its transformer takes latents.
        made_size: the width and height that a pipeline makes of others; None if it makes those that it is asked for.
    """

    def __init__(
        self,
        title: str = "other",
        pipelines: tuple[str, ...] = (),
        names: Mapping[str, str] | None = None,
        *,
        guidance_in_batch: bool = False,
        prompt_first: bool = False,
        video: bool = False,
        off: float = 1.0,
        usual: Mapping[str, Any] | None = None,
        always: Mapping[str, Any] | None = None,
        own_negative: bool = False,
        latents: Latents = PLAIN,
        made_size: Callable[[Any, int, int], Size] | None = None,
    ) -> None:
        self.title = title
        self.pipelines = pipelines
        self.names = names or {}
        self.guidance_in_batch = guidance_in_batch
        self.prompt_first = prompt_first
        self.video = video
        self._off = off
        self._usual = usual or {}
        self._always = always or {}
        self._own_negative = own_negative
        self._latents = latents
        self._made_size = made_size

    def defaults(self, pipeline: Any) -> Defaults:
        """Those of the pipeline's own call."""
        usual = {**self.usual(pipeline), **self._usual}
        height, width = (usual.get(name) or self._usual_side(pipeline, name) for name in ("height", "width"))
        name = guidance_name(usual)
        cfg = guider_scale(pipeline) if name is None else (usual.get(name) or self._off) + 1.0 - self._off
        embedded = "guidance_scale" if "true_cfg_scale" in usual else "distilled_guidance_scale"
        return Defaults(
            side=round(math.sqrt(height * width)),
            steps=usual.get("num_inference_steps") or 50,
            guidance=(usual[embedded] or 1.0) if embedded in usual else 0.0,
            cfg=cfg,
            max_tokens=usual.get("max_sequence_length") or 512,
            size=(height, width) if self.video or height != width else None,
            frames=usual.get(frames_name(usual)) or 1 if self.video else 1,
            frame_rate=usual.get("frame_rate", 8.0),
        )

    def _usual_side(self, pipeline: Any, name: str) -> int:
        """The height or width, pixels, that a pipeline has none of its own for."""
        size = network_of(pipeline).config.get("sample_size")
        trained = size * self.token_pixels(pipeline) // self._patch(pipeline) if isinstance(size, int) else 1024
        return getattr(pipeline, f"default_{name}", None) or trained

    def check_parts(self, pipeline: Any) -> None:
        """Check that nothing is missing that a prompt or an image needs.

        Raises:
            UserError: if the pipeline was loaded without a part of it, or cannot be called with prompts alone.
        """
        super().check_parts(self.plain(pipeline))

    def plain(self, pipeline: Any) -> Any:
        """A pipeline, or else one of its parts, that is called with prompts alone. Errors as `from_prompts`."""
        return from_prompts(pipeline, self.pipelines)

    def usual(self, pipeline: Any) -> dict[str, Any]:
        """Defaults of the arguments of a pipeline's call."""
        return usual_arguments(pipeline)

    def encode_concepts(
        self, pipeline: Any, concepts: Sequence[Concept], pooling: Pooling, max_tokens: int, reader: Reader
    ) -> EncodedConcepts:
        """Encode each concept alone, as the pipeline encodes a prompt. Arguments as in `encode_concepts`.

        Where prompts go with an image, it is the pipeline from prompts alone that encodes.
        """
        self.refuse_clip(reader)
        encode = getattr(pipeline, "encode_prompt", None)
        if self.pipelines and encode is not None and "image" in inspect.signature(encode).parameters:
            pipeline = self.plain(pipeline)
        options = self.prompt_options(pipeline)
        with torch.no_grad():
            return encode_as_prompts(pipeline, self.tokenizer(pipeline), concepts, pooling, max_tokens, **options)

    def prompt_options(self, pipeline: Any) -> dict[str, Any]:
        """Arguments of `encode_prompt`, beside the prompt, that a call of the pipeline gives it."""
        return {}

    def tokenizer(self, pipeline: Any) -> Any:
        found = [getattr(pipeline, name, None) for name in ("tokenizer", "processor", "tokenizer_2")]
        found = [part for part in found if part is not None]
        return getattr(found[0], "tokenizer", found[0]) if found else None

    def text_encoder(self, pipeline: Any) -> Any:
        names = ("text_encoder", "text_encoder_2", "text_encoder_3", "text_encoder_4")
        return next((part for name in names if (part := getattr(pipeline, name, None)) is not None), None)

    def call_arguments(self, pipeline: Any, request: Request, batch: int) -> dict[str, Any]:
        """Arguments specific to a pipeline.

        Raises:
            UserError: for guidance that the pipeline has none of, or takes from a part of it.
        """
        usual = self.usual(pipeline)
        name = guidance_name(usual)
        given = {**self._always, **({frames_name(usual): request.frames} if self.video else {})}
        if name is None:
            if request.cfg != (own := guider_scale(pipeline)):
                raise UserError(
                    f"The guidance of a {type(pipeline).__name__} is that of its guider, {own:g}, got cfg "
                    f"{request.cfg:g}. Leave it out, or give the pipeline another guider."
                )
        else:
            given[name] = request.cfg if name == "true_cfg_scale" else request.cfg - 1.0 + self._off
        if network_of(pipeline).config.get("guidance_embeds"):
            given |= {
                one: request.guidance
                for one in ("guidance_scale", "distilled_guidance_scale")
                if one in usual and one != name
            }
        negative = request.negative_prompts(batch)
        if request.cfg > 1 and "negative_prompt" in usual:
            given |= {} if self._own_negative and not any(negative) else {"negative_prompt": negative}
        elif any(negative):
            raise UserError(
                f"A negative prompt needs `cfg` above 1, and a pipeline that takes one; got cfg {request.cfg:g} and a "
                f"{type(pipeline).__name__}. Leave it out."
            )
        return given

    def outputs(self, output: Any) -> Any:
        return output.frames if self.video else output.images if hasattr(output, "images") else output.image

    def layout(self, pipeline: Any, width: int, height: int, frames: int) -> Layout:
        """The token grid for a size in pixels and a number of frames.

        Raises:
            UserError: for a size or a number of frames that the model cannot make.
        """
        if (made := self.made_size(pipeline, width, height)) != (width, height):
            raise UserError(
                f"{self.title} makes no pictures of {width} x {height} pixels, but {made[0]} x {made[1]} instead. "
                "Ask for that size."
            )
        if not self.video:
            return super().layout(pipeline, width, height, frames)
        each = described(network_of(pipeline)).frames_per_latent
        if frames < 1 or (frames - 1) % each:
            below = max(0, frames - 1) // each * each + 1
            raise UserError(f"The number of frames must be {each} n + 1, got {frames}. Try {below} or {below + each}.")
        pixels = self.token_pixels(pipeline)
        grid = (frames - 1) // each + 1, height // pixels, width // pixels
        return Layout(grid, self.frame_counts(pipeline, grid))

    def made_size(self, pipeline: Any, width: int, height: int) -> Size:
        return (width, height) if self._made_size is None else self._made_size(pipeline, width, height)

    def step_sigma(self, scheduler: Any, step: int, timestep: Any) -> float:
        """Noise level, 0-1, of a step of the current run: the noise's share, of the sum or the standard deviation."""
        if not hasattr(scheduler, "sigmas"):
            return float((1 - scheduler.alphas_cumprod[int(timestep)]) ** 0.5)
        sigma = float(scheduler.sigmas[step])
        if is_diffusion(scheduler):
            return 1.0 if math.isinf(sigma) else sigma / math.hypot(1, sigma)  # of diffusion, where the image has 1
        return 1 - sigma if scheduler.config.get("invert_sigmas") else sigma

    def frame_counts(self, pipeline: Any, grid: tuple[int, int, int]) -> tuple[int, ...] | None:
        """Of a video's latent frames the first stands for one frame, or they follow the model's pattern."""
        sizes = described(network_of(pipeline))
        if not sizes.frames_per_latent:
            return None
        latents = grid[0] * sizes.frame_patch
        pattern = sizes.frame_pattern or (1, *[sizes.frames_per_latent] * latents)
        counts = [pattern[number % len(pattern)] for number in range(latents)]
        starts = range(0, latents, sizes.frame_patch)
        found = tuple(sum(counts[start : start + sizes.frame_patch]) for start in starts)
        return None if set(found) == {1} else found

    def token_pixels(self, pipeline: Any) -> int:
        patch = self._patch(pipeline)
        names = (
            "vae_scale_factor",
            "vae_scale_factor_spatial",
            "vae_spatial_scale_factor",
            "vae_spatial_compression_ratio",
        )
        factors = (getattr(pipeline, name, None) for name in names)
        return patch * next((int(factor) for factor in factors if factor), 16 // patch)

    def _patch(self, pipeline: Any) -> int:
        return self._latents.pixels or described(network_of(pipeline)).patch

    def noised(self, pipeline: Any, latents: Tensor, fresh: Tensor, noise: float) -> Tensor:
        """Of flow matching a mixture; of diffusion the squares add up to one."""
        kept = math.sqrt(1 - noise * noise) if is_diffusion(pipeline.scheduler) else 1 - noise
        return noise * fresh + kept * latents

    def for_vae(self, pixels: Tensor) -> Tensor:
        return pixels[:, :, None] if self._latents.frames else super().for_vae(pixels)

    def normalised(self, vae: Any, latents: Tensor) -> Tensor:
        return latents * vae.config.scaling_factor if self._latents.unshifted else super().normalised(vae, latents)

    def encode_images(self, pipeline: Any, pixels: Tensor) -> Tensor:
        if self._latents.channels:
            vae = pipeline.vae
            encoded = vae.encode(pixels.to(pipeline._execution_device, vae.dtype)).latent_dist.mode()
            return patched(vae, encoded, self._latents.channels).to(network_of(pipeline).dtype)
        return super().encode_images(pipeline, pixels)

    def shown(self, pipeline: Any, conditions: Mapping[str, Any], latents: Tensor) -> Mapping[str, Any]:
        """As in `PipelineFamily`.

        Raises:
            UserError: for a transformer that takes more than the latents.
        """
        arranged = self._latents.arrange(latents, conditions)
        for name, own in arranged.items():
            if (shape := own[0].shape) != (expected := conditions[name][0].shape):
                raise UserError(
                    f"The {type(network_of(pipeline)).__name__} of this pipeline takes latents of shape "
                    f"{tuple(expected)}, and an image's have {tuple(shape)}: it needs more than a prompt. Record a run "
                    "inside of `with record(pipeline, concepts) as recording:`."
                )
        return {**conditions, **arranged}

    def conditions(
        self, pipeline: Any, prompt: str, latents: Tensor, request: Request, noise: float, max_tokens: int
    ) -> dict[str, Any]:
        """All that the pipeline gives its transformer in the first evaluation of a run at this noise level."""
        plain, batch = self.plain(pipeline), len(latents)
        guided = guidance_name(self.usual(plain)) is None  # the first evaluation is the prompt's all the same
        request = replace(request, cfg=guider_scale(plain) if guided else 1.0)
        drawn = [torch.Generator().manual_seed(0) for _ in range(batch)]  # for latents that are replaced
        given = first_evaluation(
            plain,
            lambda: self.call(plain, [prompt] * batch, request, 2, drawn, max_tokens, "latent"),
            first_timestep(plain.scheduler, noise),
        )
        grid = adapter_for(network_of(plain)).target_grid(eager(network_of(plain)), given)
        expected = self.layout(pipeline, request.width, request.height, request.frames).grid
        if grid != expected:
            raise UserError(
                f"The {type(pipeline).__name__} looks at {grid} tokens (frames, rows, columns) where {expected} are "
                "expected: it needs more than a prompt. Record a run inside of `with record(pipeline, concepts)`."
            )
        return given
