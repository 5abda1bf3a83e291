"""Recording of one sampling run: from a guider's call to the recording."""

from __future__ import annotations

import dataclasses
import logging
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import comfy.model_patcher
import comfy.patcher_extension
import comfyui_version
from comfy.patcher_extension import WrappersMP
from torch import Tensor

from ....recording.recording import Recording
from ...collector import Collector, versions
from ..guard import NotRecordable, guarded
from .early_stop import EarlyEnd
from .follower import Acting, ActingRun
from .geometry import latent_pixels_per_token
from .host_compiler import without_host_compiler
from .live_preview import LivePreview, Masks
from .progress_text import show_progress_text
from .prompts import UnknownRegion, image_part, latent_size
from .regions import latent_to_tokens
from .session import KEY, RecordingSession
from .settings import Settings

logger = logging.getLogger("concept_attention")

_ACTING = f"{KEY} acting"  # key of its wrappers: the session takes its own away after each evaluation

# Of an OUTER_SAMPLE wrapper, passed by position.
_ARGUMENTS = ("noise", "latent_image", "sampler", "sigmas", "denoise_mask", "callback", "disable_pbar", "seed")


@dataclass(frozen=True, eq=False)
class RunResult:
    """Result of a recorded run.

    Attributes:
        recording: None if no step was recorded.
        reason: why there is none, one or two sentences; "" if there is one.
        denoised: the last x0 passed to the sampler's callback, unchanged; None if it was never called.
        early: whether it ended early, and why; None if it could not.
        masks, unchanged: see `ActingRun`.
    """

    recording: Recording | None
    reason: str
    denoised: Tensor | None
    masks: Mapping[str, Tensor] = field(default_factory=dict)
    unchanged: Tensor | None = None
    early: EarlyEnd | None = None


def record(
    executor: Any,
    args: Sequence[Any],
    kwargs: Mapping[str, Any],
    settings: Settings,
    *,
    stop_after_last_layer: bool = False,
    acting: Acting | None = None,
) -> tuple[Tensor, RunResult]:
    """Sample as usual and record the concepts: the body of an OUTER_SAMPLE wrapper.

    Args:
        executor: of the wrapper; its `class_obj` is the guider.
        args, kwargs: of the wrapper.
        settings: what to record.
        stop_after_last_layer: end each forward pass after the last recorded layer; the latent is meaningless then.
        acting: what acts within the run.

    Returns:
        The sampler's output, unchanged but for what acts, and what was recorded. If it cannot be recorded (the model is
        not the one that was patched, the run is being recorded already, or something fails), it is sampled all the
        same, and the result says why.

    Raises:
        UserError: if something is to act in the run and cannot.
    """
    guider = executor.class_obj
    problems: list[str] = []
    run: _Run | None = None
    call = {**dict(zip(_ARGUMENTS, args, strict=False)), **kwargs}
    acts = None if acting is None else acting.begin(guider, len(call["sigmas"]) - 1)
    with guarded(problems.append):
        run = _Run(guider, settings, call, stop_after_last_layer, acts)
    if run is None:
        if acts is not None:
            acts.check(problems)
        return executor(*args, **kwargs), RunResult(None, _sentence(problems), None)
    original = guider.model_options
    guider.model_options = run.model_options
    try:
        with without_host_compiler():
            output = executor(*_by_position(run.call, len(args)), **_by_name(run.call, len(args)))
    finally:
        guider.model_options = original
        if run.preview is not None:
            run.preview.detach()
    result = RunResult(None, "", run.session.denoised)
    with guarded(problems.append):
        result = run.result()
    result = dataclasses.replace(result, early=run.early)
    if acts is not None:
        acts.check([*run.session.problems] or [result.reason])
        result = dataclasses.replace(result, masks=acts.masks, unchanged=acts.unchanged)
    return output, dataclasses.replace(result, reason=_sentence(problems)) if problems else result


class _Run:
    """What a recorded run is sampled with.

    Attributes:
        session: records it.
        preview: of the concepts; None if none is wanted.
        model_options: of the guider, with the session's wrappers.
        call: arguments of the OUTER_SAMPLE wrapper by name, with a callback that calls the session, too.
    """

    def __init__(
        self,
        guider: Any,
        settings: Settings,
        call: dict[str, Any],
        stop_after_last_layer: bool,
        acts: ActingRun | None,
    ) -> None:
        self._guider = guider
        self._model = guider.model_patcher.model
        self._collector = settings.check(self._model)
        self._acts = acts
        steps, shapes = len(call["sigmas"]) - 1, call.get("latent_shapes") or ()
        if isinstance(call["latent_image"], Tensor):  # other packs' guiders may have none
            _warn_of_size(self._collector, settings, image_part(call["latent_image"], shapes), steps)
        self.session = RecordingSession(guider, self._collector, settings, steps, stop_after_last_layer, acts, shapes)
        self.preview = _preview(settings, self._collector, acts) if settings.live_preview else None
        self.early = None
        if settings.stop is not None:
            self.early = EarlyEnd(settings.stop, self.session, self._collector, settings.encoded.concepts)
        self.model_options = _with_wrappers(self.session, guider.model_options, acts, self.early)
        self.call = _with_callback(self.session, self.preview, self.early, call)
        if acts is not None:
            self.call = acts.call(self.call)

    def result(self) -> RunResult:
        """What was recorded."""
        session = self.session
        count = f"{session.builder.committed} of {session.done} steps recorded"
        if not session.builder.committed or session.geometry is None:
            return RunResult(None, _reason(session, self._guider), session.denoised)
        notes = {"seed": str(self.call.get("seed")), "model": type(self._model).__name__, "steps": count}
        notes |= {} if self._acts is None else self._acts.notes
        if session.problems:
            notes["troubles"] = "; ".join(session.problems)
        caution_of_size = getattr(session.latent_format, "caution", None)  # the landscape model's
        notes |= {"ended_early": self.early.text} if self.early is not None and self.early.text else {}
        cautions = [
            notes.get("ended_early", ""),
            *session.cautions,
            caution_of_size(*session.geometry.image_size) if caution_of_size else "",
        ]
        if any(cautions):
            notes["cautions"] = "\n".join(filter(None, cautions))
        try:
            recording = self._collector.build(
                session.builder,
                session.geometry.grid,
                session.geometry.image_size,
                notes,
                {**versions(), "ComfyUI": comfyui_version.__version__},
                session.geometry.covered_size,
                session.geometry.frame_counts,
                {} if self._acts is None else self._acts.masks,
            )
        except ValueError as error:  # scores that are not finite
            return RunResult(None, str(error), session.denoised)
        logger.info("%s, %d layers, %d concepts", count, len(recording.layers), len(recording.concepts))
        return RunResult(recording, "", session.denoised)


def _by_position(call: Mapping[str, Any], count: int) -> list[Any]:
    """The first arguments: other packs' wrappers find them by position, as the host hands them on."""
    return [call[name] for name in _ARGUMENTS[:count]]


def _by_name(call: Mapping[str, Any], count: int) -> dict[str, Any]:
    return {name: value for name, value in call.items() if name not in _ARGUMENTS[:count]}


def _sentence(problems: Sequence[str]) -> str:
    text = "; ".join(problems)
    return f"{text[:1].upper()}{text[1:]}."


def _preview(settings: Settings, collector: Collector, acts: ActingRun | None) -> LivePreview:
    layers = collector.layers, collector.architecture.default_layers
    masks: Masks = dict if acts is None else lambda: acts.masks
    return LivePreview(settings.encoded.concepts, settings.live_preview, collector.share_rule, *layers, masks)


def _warn_of_size(collector: Collector, settings: Settings, latent: Tensor, steps: int) -> None:
    """Warn of a recording that will take much memory."""
    try:
        batch, *size = latent_size(latent)
    except UnknownRegion:  # the run says so
        return
    tokens = math.prod(latent_to_tokens(size, latent_pixels_per_token(collector.architecture)))
    recorded = sum(settings.records(step, steps) for step in range(steps))
    warning = collector.size_warning(recorded, batch, tokens, settings.keep, settings.dtype)
    if warning:
        logger.warning(warning)
        show_progress_text(warning)


def _with_callback(
    session: RecordingSession, preview: LivePreview | None, early: EarlyEnd | None, call: dict[str, Any]
) -> dict[str, Any]:
    """The arguments with a callback that calls the session first, then the preview, then the original callback."""
    original = call.get("callback")
    shown = original if preview is None else preview.attach(original, session)

    def callback(step: int, denoised: Tensor, x: Tensor, steps: int) -> Any:
        session.after_step(step, denoised)
        result = None if shown is None else shown(step, denoised, x, steps)
        if early is not None:
            early.after_step(step, steps)
        return result

    return {**call, "callback": callback}


def _with_wrappers(
    session: RecordingSession, model_options: dict[str, Any], acts: ActingRun | None, early: EarlyEnd | None
) -> dict[str, Any]:
    """A copy of the guider's options with the wrappers of what acts, and within them the session's."""
    if comfy.patcher_extension.get_wrappers_with_key(WrappersMP.PREDICT_NOISE, KEY, model_options, True):
        raise NotRecordable("this run is being recorded already: give one node all the concepts")
    options = comfy.model_patcher.create_model_options_clone(model_options)
    wrappers = [
        (WrappersMP.PREDICT_NOISE, KEY, session.predict_noise),
        (WrappersMP.CALC_COND_BATCH, KEY, session.calc_cond_batch),
    ]
    if acts is not None:
        options = acts.model_options(options)
        wrappers = [*((kind, _ACTING, wrapper) for kind, wrapper in acts.wrappers(session.pause)), *wrappers]
    if early is not None:
        wrappers.append((WrappersMP.SAMPLER_SAMPLE, KEY, early.sampler_sample))
    for kind, key, wrapper in wrappers:
        comfy.patcher_extension.add_wrapper_with_key(kind, key, wrapper, options, is_model_options=True)
    return options


def _reason(session: RecordingSession, guider: Any) -> str:
    """Why nothing was recorded."""
    if session.problems:
        return f"No step could be recorded: {'; '.join(session.problems)}."
    if not session.done:
        return "The sampler ran none of the selected steps. Give it steps, and denoise above 0."
    if not session.evaluated:
        return (
            f"None of {session.done} steps evaluated the model through ComfyUI's guider. A cache skipped them, or the "
            "sampler calls the model itself: turn the cache off, or choose another sampler."
        )
    kinds = [str(kind) for kind in getattr(guider, "conds", None) or ()]
    if not session.found_positive and "positive" not in kinds:
        return (
            f"None of {session.done} steps was sampled with the positive prompt: this guider has prompts of its own "
            f"({', '.join(kinds) or 'none'}). Sample with a guider that has a positive prompt."
        )
    return (
        f"None of {session.done} steps ran all selected layers with the positive prompt. "
        "A cache or another pack skipped them or put its own code in their place: turn it off, or choose other layers."
    )
