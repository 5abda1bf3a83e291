"""A modular pipeline of diffusers with only the steps that a prompt alone needs."""

from __future__ import annotations

import copy
from collections.abc import Collection
from typing import Any

from diffusers.modular_pipelines import SequentialPipelineBlocks

from ....errors import UserError

DECODED = frozenset({"images", "videos", "audio"})


def from_prompt(pipeline: Any) -> Any:
    """A copy of a modular pipeline that has the same parts, and only the steps that run for a prompt alone.

    A prompt is what the user wrote, so a step that writes another one is left out, such as the prompt upsampler of
    Flux 3, and what only that needs may be missing. Nothing of the given pipeline is changed.

    Raises:
        UserError: if its steps are no sequence.
    """
    steps = pipeline.blocks  # a copy
    if not isinstance(steps, SequentialPipelineBlocks):
        raise UserError(
            f"The blocks of this {type(pipeline).__name__} are a {type(steps).__name__}, expected a sequence of steps. "
            "Call it inside of `with record(pipeline, concepts) as recording:`."
        )
    return _with_steps(pipeline, steps.get_execution_blocks(prompt=True), {"prompt"})


def without_decoding(pipeline: Any) -> Any:
    """A copy of a pipeline that ends with the latents."""
    return _with_steps(pipeline, pipeline.blocks, DECODED)


def makes(pipeline: Any, made: str) -> bool:
    """Whether the steps of a pipeline make something, such as `images`, of a prompt."""
    steps = pipeline.blocks
    return "prompt" in steps.input_names and made in steps.intermediate_output_names


def _with_steps(pipeline: Any, steps: Any, unwanted: Collection[str]) -> Any:
    """A copy of a pipeline that has these steps but those that make something unwanted, and the parts that they need.

    Args:
        pipeline: a modular one.
        steps: in a sequence, which is changed.
        unwanted: names of what is not made.
    """
    for name, step in list(steps.sub_blocks.items()):
        if not set(unwanted).isdisjoint(step.intermediate_output_names):
            del steps.sub_blocks[name]
    own, needed = copy.copy(pipeline), {spec.name for spec in steps.expected_components}
    own._blocks = steps
    own._component_specs = {name: spec for name, spec in pipeline._component_specs.items() if name in needed}
    return own
