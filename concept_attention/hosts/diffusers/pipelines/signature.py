"""What the call of a pipeline takes, of whose arguments every class has some others."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from typing import Any

FRAMES = ("num_frames", "frames", "video_length")  # what pipelines call the number of frames


def usual_arguments(pipeline: Any) -> dict[str, Any]:
    """Defaults of the arguments of a pipeline's call."""
    parameters = inspect.signature(type(pipeline).__call__).parameters
    return {name: None if one.default is one.empty else one.default for name, one in parameters.items()}


def frames_name(usual: Mapping[str, Any]) -> str:
    """The argument that is the number of frames."""
    return next((name for name in FRAMES if name in usual), FRAMES[0])


def guidance_name(usual: Mapping[str, Any]) -> str | None:
    """The argument that scales classifier-free guidance; None if a part of the pipeline does."""
    return next((name for name in ("true_cfg_scale", "guidance_scale") if name in usual), None)


def guider_scale(pipeline: Any) -> float:
    """The scale of classifier-free guidance that a pipeline's guider has; 1 is off."""
    guider = getattr(pipeline, "guider", None)
    on = guider is not None and guider._enabled and guider.num_conditions > 1
    return float(getattr(guider, "guidance_scale", 1.0)) if on else 1.0
