"""The pipeline that makes an image or a video from a prompt alone, out of the parts of another."""

from __future__ import annotations

import inspect
from collections.abc import Mapping, Sequence
from typing import Any

import diffusers

from ....errors import UserError


def from_prompts(pipeline: Any, kinds: Sequence[str]) -> Any:
    """A pipeline, or else one of its parts that is called with prompts alone.

    Args:
        pipeline: any of a family.
        kinds: classes of the family's pipelines that are.

    Raises:
        UserError: if there are none, or the pipeline lacks a part of all of them.
    """
    given = type(pipeline).__name__
    if not kinds:
        raise UserError(
            f"A {given} cannot analyze existing images: diffusers has no classic pipeline of this family that "
            "makes one from a prompt alone. Record a run that changes an image little, inside of "
            "`with record(pipeline, concepts) as recording:`."
        )
    classes = [getattr(diffusers, name) for name in kinds]
    if isinstance(pipeline, tuple(classes)):
        return pipeline
    parts = {**pipeline.config, **pipeline.components}
    missing, chosen = min(((_missing(one, parts), one) for one in classes), key=lambda pair: len(pair[0]))
    if missing:
        raise UserError(f"A {given} has no {', no '.join(missing)}. Load a {chosen.__name__}.")
    return chosen(**{name: parts[name] for name in _parameters(chosen) if name in parts})


def _parameters(kind: Any) -> dict[str, inspect.Parameter]:
    """What a pipeline of a class is made of."""
    return dict(list(inspect.signature(kind.__init__).parameters.items())[1:])


def _missing(kind: Any, parts: Mapping[str, Any]) -> list[str]:
    """What a pipeline of a class needs that is not among these parts."""
    return [name for name, one in _parameters(kind).items() if name not in parts and one.default is one.empty]
