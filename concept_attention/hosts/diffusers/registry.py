"""The model families of diffusers that concepts can ride through.

Each has two modules: an adapter of its transformer, and what is known of how its pipeline is run. Their functions are
always the same, in the same order; a new family is two modules and a line in each tuple.
"""

from __future__ import annotations

from types import ModuleType
from typing import Any

from torch import nn

from .pipelines import (
    cogvideox as cogvideox_pipeline,
)
from .pipelines import (
    flux as flux_pipeline,
)
from .pipelines import (
    flux2 as flux2_pipeline,
)
from .pipelines import (
    sd3 as sd3_pipeline,
)
from .transformers import cogvideox, flux, flux2, sd3

ADAPTERS: tuple[ModuleType, ...] = (flux, flux2, sd3, cogvideox)
FAMILIES: tuple[ModuleType, ...] = (flux_pipeline, flux2_pipeline, sd3_pipeline, cogvideox_pipeline)


def adapter_for(transformer: nn.Module) -> ModuleType:
    """The adapter of a transformer.

    Raises:
        ValueError: if no adapter knows it.
    """
    for adapter in ADAPTERS:
        if adapter.matches(transformer):
            return adapter
    supported = ", ".join(adapter.__name__.rpartition(".")[2] for adapter in ADAPTERS)
    raise ValueError(
        f"{type(transformer).__name__} has no joint blocks that concepts can ride through here. "
        f"Expected a transformer of one of these families: {supported}. Choose another model."
    )


def family_of(pipeline: Any) -> ModuleType:
    """The module that knows how a pipeline is run.

    Raises:
        ValueError: if there is none.
    """
    found = family_named(type(pipeline).__name__)
    if found is None:
        raise ValueError(f"{type(pipeline).__name__} is not supported, expected {supported_pipelines()}.")
    return found


def family_named(pipeline: str) -> ModuleType | None:
    """The module that knows how pipelines of a class are run, by the class's name; None if there is none."""
    return next((family for family in FAMILIES if pipeline in family.PIPELINES), None)


def supported_pipelines() -> str:
    """All that there are, in words."""
    return ", ".join(f"{name} ({family.TITLE})" for family in FAMILIES for name in family.PIPELINES)
