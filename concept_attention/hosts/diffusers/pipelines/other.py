"""Pipelines of all families that `analyze` does not know: any of them can be recorded, some of them generated with.

What they are called with is read from their own signatures (diffusers 0.42).
"""

from __future__ import annotations

import inspect
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from ....choices import Pooling, Reader
from ....concepts import Concept
from ....errors import UserError
from ...encoded import EncodedConcepts
from ..adapters import described
from ..networks import network_of
from .family import PipelineFamily
from .own_encoder import encode_as_prompts
from .request import Defaults, Request


class OtherFamily(PipelineFamily):
    """One of these families.

    Args:
        title: for messages.
        pipelines, names, guidance_in_batch, prompt_first: see `PipelineFamily`; without pipelines it can be recorded
            only.
        off: the guidance scale, as the pipeline takes it, that is no guidance.
        usual: values of its arguments in place of its own defaults.
    """

    def __init__(
        self,
        title: str = "other",
        pipelines: tuple[str, ...] = (),
        names: Mapping[str, str] | None = None,
        guidance_in_batch: bool = False,
        prompt_first: bool = False,
        off: float = 1.0,
        usual: Mapping[str, Any] | None = None,
    ) -> None:
        self.title = title
        self.pipelines = pipelines
        self.names = names or {}
        self.guidance_in_batch = guidance_in_batch
        self.prompt_first = prompt_first
        self._off = off
        self._usual = usual or {}

    def defaults(self, pipeline: Any) -> Defaults:
        """Those of the pipeline's own call."""
        usual = {**_usual(pipeline), **self._usual}
        name = "true_cfg_scale" if "true_cfg_scale" in usual else "guidance_scale"
        return Defaults(
            side=usual.get("height") or 1024,
            steps=usual.get("num_inference_steps") or 50,
            guidance=0.0 if name == "guidance_scale" else usual.get("guidance_scale") or 1.0,
            cfg=(usual.get(name) or self._off) + 1.0 - self._off,
            max_tokens=usual.get("max_sequence_length") or 512,
        )

    def encode_concepts(
        self, pipeline: Any, concepts: Sequence[Concept], pooling: Pooling, max_tokens: int, reader: Reader
    ) -> EncodedConcepts:
        """Encode each concept alone, as the pipeline encodes a prompt. Arguments as in `encode_concepts`."""
        self.refuse_clip(reader)
        with torch.no_grad():
            return encode_as_prompts(pipeline, self.tokenizer(pipeline), concepts, pooling, max_tokens)

    def tokenizer(self, pipeline: Any) -> Any:
        found = [getattr(pipeline, name, None) for name in ("tokenizer", "processor", "tokenizer_2")]
        found = [part for part in found if part is not None]
        return getattr(found[0], "tokenizer", found[0]) if found else None

    def text_encoder(self, pipeline: Any) -> Any:
        names = ("text_encoder", "text_encoder_2", "text_encoder_3", "text_encoder_4")
        return next((part for name in names if (part := getattr(pipeline, name, None)) is not None), None)

    def call_arguments(self, pipeline: Any, request: Request, batch: int) -> dict[str, Any]:
        usual = _usual(pipeline)
        given: dict[str, Any] = {}
        if "true_cfg_scale" in usual:
            given["true_cfg_scale"] = request.cfg
            if network_of(pipeline).config.get("guidance_embeds"):
                given["guidance_scale"] = request.guidance
        else:
            given["guidance_scale"] = request.cfg - 1.0 + self._off
        if request.cfg > 1:
            given["negative_prompt"] = request.negative_prompts(batch)
        elif any(request.negative_prompts(batch)):
            raise UserError(f"A negative prompt needs `cfg` above 1, got {request.cfg:g}. Raise it, or leave it out.")
        return given

    def step_sigma(self, scheduler: Any, step: int, timestep: Any) -> float:
        """Noise level, 0-1, of a step of the current run, of a scheduler of flow matching or of diffusion."""
        if not hasattr(scheduler, "sigmas"):
            return float((1 - scheduler.alphas_cumprod[int(timestep)]) ** 0.5)
        sigma = float(scheduler.sigmas[step])
        return 1 - sigma if scheduler.config.get("invert_sigmas") else sigma

    def frame_counts(self, pipeline: Any, grid: tuple[int, int, int]) -> tuple[int, ...] | None:
        """Of a video's latent frames the first stands for one frame, or they follow the model's pattern."""
        sizes = described(network_of(pipeline))
        if not sizes.frames_per_latent:
            return None
        latents = grid[0] * sizes.frame_patch
        pattern = sizes.frame_pattern or (1, *[sizes.frames_per_latent] * latents)
        counts = [pattern[number % len(pattern)] for number in range(latents)]
        return tuple(sum(counts[start : start + sizes.frame_patch]) for start in range(0, latents, sizes.frame_patch))

    def token_pixels(self, pipeline: Any) -> int:
        sizes = described(network_of(pipeline))
        names = ("vae_scale_factor", "vae_scale_factor_spatial", "vae_spatial_compression_ratio")
        factors = (getattr(pipeline, name, None) for name in names)
        return sizes.patch * next((int(factor) for factor in factors if factor), 16 // sizes.patch)

    def encode_images(self, pipeline: Any, pixels: Tensor) -> Tensor:
        raise self._no_analysis(pipeline)

    def conditions(
        self, pipeline: Any, prompt: str, latents: Tensor, width: int, height: int, noise: float, max_tokens: int
    ) -> dict[str, Any]:
        raise self._no_analysis(pipeline)

    def _no_analysis(self, pipeline: Any) -> UserError:
        return UserError(
            f"A {type(pipeline).__name__} cannot analyse an existing image here. Record a run that changes it "
            "little: of an image-to-image pipeline inside of `with record(pipeline, concepts) as recording:`."
        )


def _usual(pipeline: Any) -> dict[str, Any]:
    """Defaults of the arguments of a pipeline's call."""
    parameters = inspect.signature(type(pipeline).__call__).parameters
    return {name: None if one.default is one.empty else one.default for name, one in parameters.items()}


OTHERS: Mapping[str, PipelineFamily] = {
    "qwen_image": OtherFamily("Qwen-Image", ("QwenImagePipeline",), {"qwen-image": "Qwen/Qwen-Image"}),
    "z_image": OtherFamily(
        "Z-Image",
        ("ZImagePipeline",),
        {"z-image-turbo": "Tongyi-MAI/Z-Image-Turbo"},
        guidance_in_batch=True,
        prompt_first=True,
        off=0.0,
        usual={"num_inference_steps": 9, "guidance_scale": 0.0},  # of Turbo
    ),
    "lumina2": OtherFamily("Lumina 2", ("Lumina2Pipeline",), {"lumina-2": "Alpha-VLLM/Lumina-Image-2.0"}),
    "chroma": OtherFamily("Chroma", ("ChromaPipeline",), {"chroma": "lodestones/Chroma1-HD"}),
    "ovis_image": OtherFamily("Ovis-Image", ("OvisImagePipeline",), {"ovis-image": "AIDC-AI/Ovis-Image-7B"}),
    "auraflow": OtherFamily("AuraFlow", ("AuraFlowPipeline",), {"auraflow": "fal/AuraFlow"}, guidance_in_batch=True),
    "hidream": OtherFamily("HiDream-I1", guidance_in_batch=True),
    "ernie_image": OtherFamily("Ernie-Image", guidance_in_batch=True),
    "bria": OtherFamily("Bria", guidance_in_batch=True),
    "cogview3plus": OtherFamily("CogView 3 Plus", guidance_in_batch=True),
    "mochi": OtherFamily("Mochi", guidance_in_batch=True),
    "easyanimate": OtherFamily("EasyAnimate", guidance_in_batch=True),
    "consisid": OtherFamily("ConsisID", guidance_in_batch=True),
}
