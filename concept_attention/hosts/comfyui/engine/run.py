"""One sampling run with concepts, from a guider's call to the recording."""

from __future__ import annotations

import logging
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import comfy.model_patcher
import comfy.patcher_extension
import comfyui_version
from comfy.patcher_extension import WrappersMP
from torch import Tensor

from ....recording.recording import Recording
from ...collector import Collector, versions
from ..adapters.registry import adapter_for
from .geometry import latent_pixels_per_token
from .live_preview import LivePreview
from .progress_text import tell_node
from .prompts import Unplaceable, latent_size
from .regions import latent_to_tokens
from .session import KEY, RecordingSession
from .settings import Settings

logger = logging.getLogger("concept_attention")

__all__ = ["KEY", "RunResult", "record"]

# Of an OUTER_SAMPLE wrapper; they come by position.
_ARGUMENTS = ("noise", "latent_image", "sampler", "sigmas", "denoise_mask", "callback", "disable_pbar", "seed")


@dataclass(frozen=True, eq=False)
class RunResult:
    """What a run recorded.

    Attributes:
        recording: None if no step delivered anything.
        reason: why there is none, one or two sentences; "" if there is one.
        denoised: the last x0 that the sampler's callback saw, as it saw it; None if it was never called.
    """

    recording: Recording | None
    reason: str
    denoised: Tensor | None


def record(
    executor: Any, args: Sequence[Any], kwargs: Mapping[str, Any], settings: Settings, *, stop: bool = False
) -> tuple[Tensor, RunResult]:
    """Sample as usual, and record the concepts meanwhile: the body of an OUTER_SAMPLE wrapper.

    Args:
        executor: as the wrapper gets it; its `class_obj` is the guider.
        args, kwargs: as the wrapper gets them.
        settings: what to record.
        stop: end each forward pass after the last kept joint block; what is sampled is meaningless then.

    Returns:
        What the sampler returned, untouched, and what was recorded.

    Raises:
        ValueError: if the model cannot be recorded with these settings, or the run is being recorded already.
    """
    guider = executor.class_obj
    model = guider.model_patcher.model
    collector = settings.check(model)
    call = {**dict(zip(_ARGUMENTS, args, strict=False)), **kwargs}
    steps = len(call["sigmas"]) - 1
    if isinstance(call["latent_image"], Tensor):  # other packs' guiders may have none
        _warn_of_size(collector, settings, call["latent_image"], steps)
    watch = RecordingSession(guider, adapter_for(model), collector, settings, steps, stop)
    preview = _preview(settings, collector) if settings.live_preview else None
    original = guider.model_options
    guider.model_options = _with_wrappers(watch, original)
    try:
        args, kwargs = _with_callback(watch, preview, args, kwargs)
        output = executor(*args, **kwargs)
    finally:
        guider.model_options = original
        if preview is not None:
            preview.release()
    return output, _result(watch, collector, {"seed": str(call.get("seed")), "model": type(model).__name__})


def _preview(settings: Settings, collector: Collector) -> LivePreview:
    kept, default = collector.layers, collector.architecture.default_layers
    return LivePreview(settings.encoded.concepts, settings.live_preview, collector.reading, kept, default)


def _warn_of_size(collector: Collector, settings: Settings, latent: Tensor, steps: int) -> None:
    """Say how much memory the recording will take, if that is much."""
    try:
        batch, *size = latent_size(latent)
    except Unplaceable:  # the run says so
        return
    tokens = math.prod(latent_to_tokens(size, latent_pixels_per_token(collector.architecture)))
    wanted = sum(settings.wants(step, steps) for step in range(steps))
    warning = collector.size_warning(wanted, batch, tokens, settings.keep, settings.dtype)
    if warning:
        logger.warning(warning)
        tell_node(warning)


def _with_callback(
    watch: RecordingSession, preview: LivePreview | None, args: Sequence[Any], kwargs: Mapping[str, Any]
) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """The arguments with a callback that also tells the watch, and then shows the preview."""
    place = _ARGUMENTS.index("callback")
    theirs = args[place] if len(args) > place else kwargs.get("callback")
    if preview is not None:
        theirs = preview.follow(theirs, watch)

    def callback(step: int, denoised: Tensor, x: Tensor, steps: int) -> Any:
        watch.after_step(step, denoised)
        return None if theirs is None else theirs(step, denoised, x, steps)

    if len(args) > place:
        return (*args[:place], callback, *args[place + 1 :]), dict(kwargs)
    return tuple(args), {**kwargs, "callback": callback}


def _with_wrappers(watch: RecordingSession, model_options: dict[str, Any]) -> dict[str, Any]:
    """A copy of the guider's options, with which the watch sees every evaluation."""
    if comfy.patcher_extension.get_wrappers_with_key(WrappersMP.PREDICT_NOISE, KEY, model_options, True):
        raise ValueError("This run is being recorded already. Give one node all the concepts.")
    watched = comfy.model_patcher.create_model_options_clone(model_options)
    for kind, wrapper in (
        (WrappersMP.PREDICT_NOISE, watch.predict_noise),
        (WrappersMP.CALC_COND_BATCH, watch.calc_cond_batch),
    ):
        comfy.patcher_extension.add_wrapper_with_key(kind, KEY, wrapper, watched, is_model_options=True)
    return watched


def _result(watch: RecordingSession, collector: Collector, notes: Mapping[str, str]) -> RunResult:
    count = f"{watch.builder.committed} of {watch.done} steps recorded"
    if not watch.builder.committed or watch.frame is None:
        return RunResult(None, _reason(watch), watch.denoised)
    if watch.problems:
        notes = {**notes, "problems": "; ".join(watch.problems)}
    made_with = {**versions(), "ComfyUI": comfyui_version.__version__}
    try:
        recording = collector.build(
            watch.builder,
            watch.frame.grid,
            watch.frame.image_size,
            {**notes, "steps": count},
            made_with,
            watch.frame.covered_size,
            watch.frame.frame_counts,
        )
    except ValueError as error:  # scores that are not finite
        return RunResult(None, str(error), watch.denoised)
    logger.info("%s, %d layers, %d concepts", count, len(recording.layers), len(recording.concepts))
    return RunResult(recording, "", watch.denoised)


def _reason(watch: RecordingSession) -> str:
    """Why nothing was recorded."""
    if watch.problems:
        return f"No step could be mapped: {'; '.join(watch.problems)}."
    if not watch.done:
        return "The sampler made none of the steps that were to be recorded. Give it steps, and denoise above 0."
    return (
        f"None of {watch.done} steps ran all the layers that were to be recorded, with the positive prompt. "
        "A cache or another pack skipped them: turn it off, or choose other layers."
    )
