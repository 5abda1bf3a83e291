"""The families of pipelines of diffusers: how they are called, and how they encode concepts.

A family that `generate` and `analyze` can call is one class in `pipelines/`, or a line in `others.py`, by the class of
its adapter. Of every other family of transformers, any pipeline can be recorded.
"""

from __future__ import annotations

from typing import Any

from ...errors import UserError
from .adapters import adapter_for
from .networks import network_of
from .pipelines.cogvideox import CogVideoXFamily
from .pipelines.family import PipelineFamily
from .pipelines.flux import FluxFamily
from .pipelines.flux2 import Flux2Family
from .pipelines.ltx2 import LTX2Family
from .pipelines.other import OtherFamily
from .pipelines.others import OTHERS
from .pipelines.qwen_image21 import QwenImage21Family
from .pipelines.sd3 import SD3Family
from .pipelines.unet import UNetFamily
from .pipelines.wan import WanFamily

PIPELINES: dict[str, PipelineFamily] = {
    "Flux": FluxFamily(),
    "Flux2": Flux2Family(),
    "SD3": SD3Family(),
    "CogVideoX": CogVideoXFamily(),
    "LTX2": LTX2Family(),
    "QwenImage21": QwenImage21Family(),
    "UNet": UNetFamily(),
    "Wan": WanFamily(),
    **OTHERS,
}
FAMILIES = tuple(PIPELINES.values())


def family_of(pipeline: Any) -> PipelineFamily:
    """The family of a pipeline, by its class or one it derives from, else by its transformer.

    Raises:
        UserError: if it is of none, or something else stands in the place of its transformer.
    """
    named = _family_of_class(type(pipeline))
    network = network_of(pipeline)
    if named is not None:
        if network is not None:
            adapter_for(network)
        return named
    if network is not None:
        return PIPELINES.get(type(adapter_for(network)).__name__, OtherFamily())
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
    """The families whose pipelines are supported, and the class of one, for messages."""
    titles = list(dict.fromkeys(family.title for family in FAMILIES if family.pipelines))
    return f"{FAMILIES[0].pipelines[0]} ({titles[0]}) and those of {', '.join(titles[1:])}"
