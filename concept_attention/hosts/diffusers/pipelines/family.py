"""The base class of all families: how a family's pipelines are run, and how they are given an existing image."""

from __future__ import annotations

import inspect
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import torch
from diffusers import DiffusionPipeline
from diffusers.pipelines.flux.pipeline_flux import calculate_shift
from torch import Tensor

from ....choices import Offload, Pooling, Reader
from ....concepts import Concept
from ....errors import UserError
from ...encoded import EncodedConcepts
from ..networks import network_of
from .latents import normalised
from .request import Defaults, Layout, Request
from .t5 import encode_with_t5


def draw_noise(shape: Sequence[int], seed: int) -> Tensor:
    """Normal noise, float32 on the CPU."""
    return torch.randn(tuple(shape), generator=torch.Generator().manual_seed(seed))


class PipelineFamily(ABC):
    """One family of pipelines.

    The defaults hold for image models trained by flow matching, with a T5. A family overrides what differs.

    Attributes:
        title: of the family, for messages.
        pipelines: names of the classes of its pipelines.
        names: hub ids by the short names of models.
        guidance_in_batch: whether classifier-free guidance evaluates the negative prompt and the prompt in one batch.
        prompt_first: whether the prompt's rows are the first half of that batch.
        video: whether it makes videos.
        optional: names of parts that a pipeline may lack, beside those that diffusers lets it lack.
        one_prompt: whether a call takes only one.
        min_steps: the fewest sampler steps that a run can have.
        max_shift: of the schedule, at 4096 image tokens, if the scheduler's configuration has none.
    """

    title: str
    pipelines: tuple[str, ...]
    names: Mapping[str, str]
    guidance_in_batch: bool = False
    prompt_first: bool = False
    video: bool = False
    optional: ClassVar[tuple[str, ...]] = ()
    one_prompt: ClassVar[bool] = False
    min_steps: ClassVar[int] = 1
    max_shift: ClassVar[float] = 1.15

    @abstractmethod
    def defaults(self, pipeline: Any) -> Defaults:
        """What to run a pipeline with if the user does not say."""

    def load(self, source: str, dtype: torch.dtype) -> Any:
        """A pipeline from a folder or hub id, with its parts in this dtype. Errors as diffusers'."""
        return DiffusionPipeline.from_pretrained(source, torch_dtype=dtype)

    def offload(self, pipeline: Any, device: str, offload: Offload) -> None:
        """Have each part of a pipeline, or each of its layers, on a device only while it works; `none` is not given."""
        if offload == "model":
            pipeline.enable_model_cpu_offload(device=device)
        else:
            pipeline.enable_sequential_cpu_offload(device=device)

    def tokenizer(self, pipeline: Any) -> Any:
        """The tokenizer of prompts and concepts."""
        return pipeline.tokenizer

    def text_encoder(self, pipeline: Any) -> Any:
        """The T5 that encodes prompts and concepts."""
        return pipeline.text_encoder

    def encode_concepts(
        self, pipeline: Any, concepts: Sequence[Concept], pooling: Pooling, max_tokens: int, reader: Reader
    ) -> EncodedConcepts:
        """Encode each concept alone through T5. Arguments as in `encode_concepts`.

        Raises:
            UserError: for the reader `clip`, whose tokens the model does not get, and as `encode_with_t5`.
        """
        self.refuse_clip(reader)
        return encode_with_t5(
            pipeline, self.tokenizer(pipeline), self.text_encoder(pipeline), concepts, pooling, max_tokens
        )

    def check_parts(self, pipeline: Any) -> None:
        """Check that nothing is missing that a prompt or an image needs.

        Raises:
            UserError: if the pipeline was loaded without a part of it.
        """
        optional = {*pipeline._optional_components, *self.optional}
        missing = [name for name, part in pipeline.components.items() if part is None and name not in optional]
        if missing:
            raise UserError(
                f"This {type(pipeline).__name__} has no {', no '.join(missing)}: it was loaded without. "
                "Load it with all of its parts."
            )

    def check_prompts(self, prompts: Sequence[str], request: Request) -> None:
        """Check that something can be made of prompts in one call.

        Raises:
            UserError: for no prompt, or another number of negative prompts.
        """
        if not prompts:
            raise UserError("There is no prompt. Give at least one.")
        if len(request.negative_prompts(len(prompts))) != len(prompts):
            raise UserError(
                f"Prompts: {len(prompts)}, negative prompts: {len(request.negative_prompt)}. "
                "Give one text for all prompts, or a list with one for each."
            )

    def refuse_clip(self, reader: Reader) -> None:
        """Refuse the reader `clip` for a model whose blocks get no tokens of CLIP."""
        if reader == "clip":
            raise UserError(f'The reader "clip" needs the tokens of CLIP, and {self.title} gets none. Choose "auto".')

    def max_steps(self, pipeline: Any) -> int | None:
        """The most sampler steps that the scheduler can make; None if there is no limit."""
        return None

    def call(
        self,
        pipeline: Any,
        prompts: Sequence[str],
        request: Request,
        steps: int,
        generators: Sequence[torch.Generator],
        max_tokens: int,
        output_type: str = "pil",
    ) -> Any:
        """Call a pipeline; what it has made, see `outputs`.

        Args:
            pipeline: of this family.
            prompts, request, steps: of the run.
            generators: of the noise of each prompt's image.
            max_tokens: length that prompts are padded to, where the pipeline lets it be chosen.
            output_type: of diffusers.
        """
        arguments = {
            "prompt": list(prompts),
            "width": request.width,
            "height": request.height,
            "num_inference_steps": steps,
            "generator": list(generators),
            "output_type": output_type,
            **self.call_arguments(pipeline, request, len(prompts)),
        }
        if "max_sequence_length" in inspect.signature(type(pipeline).__call__).parameters:
            arguments["max_sequence_length"] = max_tokens
        return self.outputs(pipeline(**arguments))

    @abstractmethod
    def call_arguments(self, pipeline: Any, request: Request, batch: int) -> dict[str, Any]:
        """Arguments specific to this family's pipelines, for a batch of so many prompts."""

    def layout(self, pipeline: Any, width: int, height: int, frames: int) -> Layout:
        """The token grid for a size in pixels and a number of frames.

        Raises:
            UserError: for a number of frames that the model cannot make.
        """
        if frames != 1:
            raise UserError(f"This model makes images, not videos: {frames} frames are not possible. Leave them out.")
        pixels = self.token_pixels(pipeline)
        return Layout((1, height // pixels, width // pixels))

    def frame_counts(self, pipeline: Any, grid: tuple[int, int, int]) -> tuple[int, ...] | None:
        """Frames that each T of a token grid stands for; see `Layout`."""
        return None

    def token_pixels(self, pipeline: Any) -> int:
        """Pixels along a side of a token."""
        return 16

    def made_size(self, pipeline: Any, width: int, height: int) -> tuple[int, int]:
        """The width and height, in pixels, that a pipeline makes of those that it is asked for."""
        return width, height

    def prompt_rows(self, pipeline: Any, batch: int) -> slice | None:
        """The rows of a batch of that size that are evaluations of the prompt.

        None if the pipeline does not say whether the others are there: then they are `image_rows`.
        """
        scale = getattr(pipeline, "guidance_scale", None)
        guided = getattr(pipeline, "do_classifier_free_guidance", None if scale is None else scale > 1)
        if self.guidance_in_batch and guided is None:
            return None
        return self.image_rows(batch // 2 if self.guidance_in_batch and guided else batch)

    def image_rows(self, images: int) -> slice:
        """The rows of an evaluation that are those of the prompt, for so many images that are made."""
        return slice(0, images) if self.prompt_first else slice(-images, None)

    def outputs(self, output: Any) -> Any:
        """What a pipeline has made: an image, or the frames of a video, per prompt."""
        return output.images

    def step_sigma(self, scheduler: Any, step: int, timestep: Any) -> float:
        """Noise level, 0-1, of a step of the current run."""
        return float(scheduler.sigmas[step])

    def schedule_sigma(self, pipeline: Any, steps: int, step: int, tokens: int) -> float:
        """Noise level, 0-1, at a step of the model's own schedule of `steps`, for images of `tokens` image tokens."""
        scheduler = type(pipeline.scheduler).from_config(pipeline.scheduler.config)
        scheduler.set_timesteps(**self.schedule_arguments(scheduler.config, steps, tokens))
        return self.step_sigma(scheduler, step, scheduler.timesteps[step])

    def schedule_arguments(self, config: Any, steps: int, tokens: int) -> dict[str, Any]:
        """What the pipeline calls its scheduler's `set_timesteps` with; `config` is the scheduler's."""
        return {"num_inference_steps": steps}

    def usual_shift(self, config: Any, tokens: int) -> float:
        """The shift of the schedule for images of `tokens` image tokens, as Flux 1 and SD3 compute it."""
        usual = {"base_image_seq_len": 256, "max_image_seq_len": 4096, "base_shift": 0.5, "max_shift": self.max_shift}
        return calculate_shift(tokens, *(config.get(name, value) for name, value in usual.items()))

    def fresh_noise(self, latent: Tensor, seed: int) -> Tensor:
        """Noise for one of the latents of `encode_images`.

        It is drawn on the CPU, as other software draws it, so that the same seed is the same noise everywhere.
        """
        return draw_noise(latent.shape, seed).to(latent)

    def noised(self, pipeline: Any, latents: Tensor, fresh: Tensor, noise: float) -> Tensor:
        """Latents mixed with the noise `fresh`, as the model gets them at noise level `noise`, 0-1."""
        return noise * fresh + (1 - noise) * latents

    def encode_images(self, pipeline: Any, pixels: Tensor) -> Tensor:
        """Images to latents, normalised as the model gets them, as the VAE lays them out, in the transformer's dtype.

        The VAE's mean is taken, not a sample.

        Args:
            pipeline: of this family.
            pixels: images, or the frames of one video, (B, 3, H, W), -1 to 1.

        Returns:
            Of images (B, C, H, W); of a video (1, C, T, H, W).
        """
        vae = pipeline.vae
        encoded = vae.encode(self.for_vae(pixels.to(pipeline._execution_device, vae.dtype)))
        if hasattr(encoded, "latent_dist"):
            latents = encoded.latent_dist.mode()
        else:
            latents = encoded.latents if hasattr(encoded, "latents") else encoded.latent
        return self.normalised(vae, latents).to(network_of(pipeline).dtype)

    def normalised(self, vae: Any, latents: Tensor) -> Tensor:
        """Latents of a VAE as the model gets them, see `normalised`."""
        return normalised(vae, latents)

    def for_vae(self, pixels: Tensor) -> Tensor:
        """Pixels of `encode_images` as the VAE takes them: of a video (1, 3, F, H, W)."""
        return pixels.movedim(1, 0)[None] if self.video else pixels

    def shown(self, pipeline: Any, conditions: Mapping[str, Any], latents: Tensor) -> Mapping[str, Any]:
        """The transformer's arguments with noised latents, as `encode_images` lays them out, and their `conditions`."""
        return {**conditions, "hidden_states": latents}

    def network_at(self, pipeline: Any, noise: float) -> Any:
        """The network that looks at images of a noise level, 0-1."""
        return network_of(pipeline)

    @abstractmethod
    def conditions(
        self, pipeline: Any, prompt: str, latents: Tensor, request: Request, noise: float, max_tokens: int
    ) -> dict[str, Any]:
        """The transformer's arguments besides the noised latents, for the analysis of existing images.

        Args:
            pipeline: of this family.
            prompt: what the images show, the same for all.
            latents: result of `encode_images`.
            request: size in pixels and number of frames of what is looked at.
            noise: noise level, 0-1.
            max_tokens: length the prompt is padded to.
        """

    def sigma_and_guidance(self, pipeline: Any, batch: int, noise: float) -> dict[str, Any]:
        """The `conditions` of Flux 1 and 2 that say how noisy the images are: sigma, and zero guidance."""
        device, transformer = pipeline._execution_device, pipeline.transformer
        return {
            "timestep": torch.full((batch,), noise, device=device, dtype=transformer.dtype),
            "guidance": torch.zeros(batch, device=device) if transformer.config.guidance_embeds else None,
        }
