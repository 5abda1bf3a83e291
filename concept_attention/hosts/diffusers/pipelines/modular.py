"""Families that diffusers (0.42) has as modular pipelines only.

A pipeline is run as a copy of itself with only the steps that a prompt alone needs, see `prompt_steps.py`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

import torch
from diffusers import ComponentsManager, ModularPipeline
from torch import nn

from ....choices import Offload
from ....errors import UserError
from .other import OtherFamily
from .prompt_steps import from_prompt, makes, without_decoding
from .request import Request
from .signature import guider_scale


class ModularFamily(OtherFamily):
    """One of these families. Arguments as `OtherFamily`."""

    one_prompt: ClassVar[bool] = True

    def load(self, source: str, dtype: torch.dtype) -> Any:
        """A pipeline with only the steps, and the parts, that a prompt alone needs. Errors as diffusers'."""
        whole = ModularPipeline.from_pretrained(source, trust_remote_code=False)
        pipeline = self.plain(whole)
        for name in pipeline.pretrained_component_names:  # one by one: `load_components` logs errors and goes on
            pipeline.update_components(**{name: pipeline.get_component_spec(name).load(dtype=dtype)})
        return pipeline

    def offload(self, pipeline: Any, device: str, offload: Offload) -> None:
        """As in `PipelineFamily`.

        Raises:
            UserError: for `sequential`.
        """
        if offload == "sequential":
            raise UserError("The layers of a modular pipeline are not offloaded one by one. Choose offload model.")
        manager = ComponentsManager()
        for name, part in pipeline.components.items():
            if isinstance(part, nn.Module):
                manager.add(name, part)
        manager.enable_auto_cpu_offload(device=device)

    def plain(self, pipeline: Any) -> Any:
        """A copy of a pipeline that makes something of a prompt alone. Errors as `from_prompt`."""
        return from_prompt(pipeline)

    def usual(self, pipeline: Any) -> dict[str, Any]:
        return {one.name: one.default for one in self.plain(pipeline).blocks.inputs if one.name}

    def check_parts(self, pipeline: Any) -> None:
        """Check that nothing is missing that a prompt or an image needs.

        Raises:
            UserError: if a part was not loaded, or the pipeline's steps make nothing of a prompt.
        """
        plain, given = self.plain(pipeline), type(pipeline).__name__
        if not makes(plain, self._made):
            raise UserError(
                f"The blocks of this {given} make no {self._made} of a prompt, expected those of a "
                f"{type(pipeline).default_blocks_name}. Call it inside of `with record(pipeline, concepts)`."
            )
        if missing := [name for name, part in plain.components.items() if part is None]:
            raise UserError(
                f"This {given} has no {', no '.join(missing)}: it was not loaded. "
                f"Call `load_components({missing})` first."
            )

    def check_prompts(self, prompts: Sequence[str], request: Request) -> None:
        """Check that there is one prompt and one negative prompt.

        Raises:
            UserError: if there are several, and as in `PipelineFamily`.
        """
        super().check_prompts(prompts, request)
        if len(set(prompts)) > 1 or len(set(request.negative_prompts(len(prompts)))) > 1:
            raise UserError(
                f"{self.title} takes one prompt at a time, got {len(prompts)}. Call `generate` for each of them."
            )

    def call_arguments(self, pipeline: Any, request: Request, batch: int) -> dict[str, Any]:
        """Arguments specific to a pipeline.

        Raises:
            UserError: for guidance, or a negative prompt, that the pipeline has none of.
        """
        given = type(pipeline).__name__
        if request.cfg != guider_scale(pipeline) and not _has_scale(pipeline):
            raise UserError(
                f"The guidance of this {given} cannot be chosen, got cfg {request.cfg:g}: it has no guider with a "
                "`guidance_scale`. Leave it out."
            )
        (negative,) = set(request.negative_prompts(batch))
        if request.cfg > 1 and "negative_prompt" in self.usual(pipeline):
            return {"negative_prompt": negative}
        if negative:
            raise UserError(
                f"A negative prompt needs `cfg` above 1, and a pipeline that takes one; got cfg {request.cfg:g} and a "
                f"{given}. Leave it out."
            )
        return {}

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
        """Call a pipeline, with its guider at the asked scale. Arguments as in `PipelineFamily`."""
        plain, made = self.plain(pipeline), self._made
        if request.cfg != guider_scale(plain):
            plain.guider = plain.guider.new(guidance_scale=request.cfg)
        if output_type == "latent":
            plain, made = without_decoding(plain), "latents"
        arguments = {
            "prompt": prompts[0],
            "num_images_per_prompt": len(prompts),
            "width": request.width,
            "height": request.height,
            "num_frames": request.frames,
            "num_inference_steps": steps,
            "generator": list(generators),
            "max_sequence_length": max_tokens,
            "output_type": output_type,
            **self.call_arguments(pipeline, request, len(prompts)),
        }
        taken = plain.blocks.input_names
        return plain(output=made, **{name: value for name, value in arguments.items() if name in taken})

    @property
    def _made(self) -> str:
        return "videos" if self.video else "images"


def _has_scale(pipeline: Any) -> bool:
    """Whether a pipeline has a guider whose scale can be chosen."""
    guider = getattr(pipeline, "guider", None)
    return guider is not None and "guidance_scale" in guider.config
