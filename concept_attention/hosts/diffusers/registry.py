"""The model families of diffusers: an adapter of the transformer, and a description of the pipeline, for each.

A new family is one class in `transformers/`, one in `pipelines/`, and one entry in each tuple, at the same place.
"""

from __future__ import annotations

from typing import Any

from torch import nn

from ...errors import UserError
from .eager import eager
from .pipelines.cogvideox import CogVideoXFamily
from .pipelines.family import PipelineFamily
from .pipelines.flux import FluxFamily
from .pipelines.flux2 import Flux2Family
from .pipelines.sd3 import SD3Family
from .transformers.adapter import Adapter
from .transformers.cogvideox import CogVideoX
from .transformers.flux import Flux
from .transformers.flux2 import Flux2
from .transformers.sd3 import SD3

ADAPTERS: tuple[Adapter, ...] = (Flux(), Flux2(), SD3(), CogVideoX())
FAMILIES: tuple[PipelineFamily, ...] = (FluxFamily(), Flux2Family(), SD3Family(), CogVideoXFamily())


def adapter_for(transformer: nn.Module) -> Adapter:
    """The adapter of a transformer, compiled or not.

    Raises:
        UserError: if no adapter knows it.
    """
    transformer = eager(transformer)
    for adapter in ADAPTERS:
        if adapter.matches(transformer):
            return adapter
    raise UserError(
        f"{type(transformer).__name__} has no joint blocks that concepts can pass through here. "
        f"Expected a transformer of one of these families: {', '.join(adapter.name for adapter in ADAPTERS)}. "
        "Choose another model."
    )


def family_of(pipeline: Any) -> PipelineFamily:
    """The family of a pipeline, by its class or one it derives from, else by its transformer.

    Raises:
        UserError: if it is of none, or something else stands in the place of its transformer.
    """
    named = _family_of_class(type(pipeline))
    transformer = eager(getattr(pipeline, "transformer", None))
    if named is not None:
        if transformer is not None:
            adapter_for(transformer)
        return named
    for adapter, family in zip(ADAPTERS, FAMILIES, strict=True):
        if adapter.matches(transformer):
            return family
    given = type(pipeline).__name__
    raise UserError(f"{given} is not supported, expected one of {supported_pipelines()}. Choose another model.")


def refuse_other_arguments(pipeline: Any) -> None:
    """Refuse a pipeline of a family that is not called with prompts alone.

    Raises:
        UserError: says what to do instead.
    """
    if _family_of_class(type(pipeline)) is None:
        raise UserError(
            f"A {type(pipeline).__name__} takes more than prompts, and `generate` takes one of "
            f"{supported_pipelines()}. Call it inside of `with record(pipeline, concepts) as recording:`."
        )


def family_named(pipeline: str) -> PipelineFamily | None:
    """The family of the pipelines of a class, by the class's name; None if there is none."""
    return next((family for family in FAMILIES if pipeline in family.pipelines), None)


def _family_of_class(kind: type) -> PipelineFamily | None:
    return next((family for base in kind.__mro__ if (family := family_named(base.__name__))), None)


def supported_pipelines() -> str:
    """The classes of pipelines that are supported, for messages."""
    return ", ".join(f"{name} ({family.title})" for family in FAMILIES for name in family.pipelines)
