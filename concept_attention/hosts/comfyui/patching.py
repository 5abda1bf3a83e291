"""Patched copies of a MODEL or a GUIDER, with one wrapper around every sampling run.

The copy carries configuration, never results: each run has its own state and passes its result to `on_result`.
"""

from __future__ import annotations

import copy
import dataclasses
import logging
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import comfy.model_patcher
import comfy.nested_tensor
import comfy.patcher_extension
import comfy.utils
from comfy.patcher_extension import WrappersMP

from ...errors import UserError
from ...recording.recording import Recording
from ..encoded import EncodedConcepts
from .acting.run import Part, Plan
from .engine.run import RunResult, record
from .engine.session import KEY
from .engine.settings import Settings
from .graph_place import UNKNOWN, Asked
from .guard import guarded
from .recording_cache import RECORDING_CACHE, NothingRecorded, RecordingCache

logger = logging.getLogger("concept_attention")

# Called with the sampled latent and the result of each finished run, never of one that raised. The latent and the
# result's `denoised` are those of the host's own nodes, except for device and dtype.
OnResult = Callable[[Any, RunResult], None]


def patch_model(
    model: Any, settings: Settings, on_result: OnResult | None = None, *, stop_after_last_layer: bool = False
) -> Any:
    """A MODEL that records concepts in every run, with any sampler. What acts in it goes on acting.

    Args:
        model: a ModelPatcher; it is not changed.
        settings: what to record.
        on_result: see `OnResult`; None puts the recording into the cache, where `collect` finds it.
        stop_after_last_layer: end each forward pass after the last recorded layer; the latent is meaningless then.

    Raises:
        UserError: if the model cannot be recorded with these settings, or is patched already.
    """
    settings.check(model.model)
    _refuse_recorded(model.wrappers, model.model_options)
    plan = plan_of(model)
    if plan is not None:
        _check_same(plan.encoded, settings.encoded)
    on_result = on_result or _put_into(RECORDING_CACHE, settings)
    return _with_wrapper(model, _recording_wrapper(settings, on_result, stop_after_last_layer, plan))


def add_part(model: Any, encoded: EncodedConcepts, part: Part) -> Any:
    """A MODEL in whose runs something acts where a concept is, after all that acts already.

    Its runs are recorded, over the steps whose maps are needed, unless it is patched to record others.

    Args:
        model: a ModelPatcher; it is not changed.
        encoded: the concepts that are followed.
        part: what acts.

    Raises:
        UserError: if the model cannot be recorded, or follows or records other concepts already.
    """
    plan, found = plan_of(model), _wrapper_of(model)
    if plan is not None:
        _check_same(plan.encoded, encoded)
    if found is not None and found.settings is not None:
        _check_same(found.settings.encoded, encoded)
    grown = Plan(encoded, (*(() if plan is None else plan.parts), part))
    if found is not None and found.records:
        wrapper = _recording_wrapper(found.settings, found.on_result, False, grown)
    else:
        settings = Settings(encoded, layers="auto", end_percent=grown.last_percent)
        settings.check(model.model)
        wrapper = _recording_wrapper(settings, _put_into(RECORDING_CACHE, settings), False, grown, records=False)
    return _with_wrapper(model, wrapper)


def plan_of(model: Any) -> Plan | None:
    """What acts in the runs of a MODEL."""
    found = _wrapper_of(model)
    return None if found is None else found.plan


def patch_guider(guider: Any, settings: Settings, on_result: OnResult) -> Any:
    """A GUIDER that records concepts when it samples; for the arguments see `patch_model`.

    It is a copy with its own model options, as the host keeps the guider for the next prompt.
    """
    settings.check(guider.model_patcher.model)
    _refuse_recorded(guider.model_patcher.wrappers, guider.model_options)
    plan = plan_of(guider.model_patcher)
    patched = copy.copy(guider)
    if plan is not None:
        _check_same(plan.encoded, settings.encoded)
        patched.model_patcher = _with_wrapper(guider.model_patcher, None)
    patched.model_options = comfy.model_patcher.create_model_options_clone(guider.model_options)
    wrapper = _recording_wrapper(settings, on_result, False, plan)
    comfy.patcher_extension.add_wrapper_with_key(
        WrappersMP.OUTER_SAMPLE, KEY, wrapper, patched.model_options, is_model_options=True
    )
    return patched


def settings_of(model: Any) -> Settings:
    """Settings of a patched MODEL.

    Raises:
        UserError: if it is not patched.
    """
    found = _wrapper_of(model)
    if found is None:
        raise UserError("The connected MODEL has no concept attention. Connect the patch node's MODEL.")
    return found.settings


def collect(latent: Mapping[str, Any], model: Any | None = None, asked: Asked = UNKNOWN) -> Recording:
    """The recording of the run that returned this LATENT.

    Args:
        latent: as a sampler with a patched MODEL returned it; either output of SamplerCustomAdvanced.
        model: the patched MODEL; needed if the same latent was sampled with several.
        asked: who asks.

    Raises:
        NothingRecorded, UserError: see `RecordingCache.find` and `settings_of`.
    """
    return RECORDING_CACHE.find(latent["samples"], None if model is None else settings_of(model).fingerprint(), asked)


def unchanged(latent: Mapping[str, Any], asked: Asked = UNKNOWN) -> Any:
    """`samples` of the latent without the regions that kept the rest in the run that returned this LATENT.

    Args: see `collect`.

    Raises:
        NothingRecorded: if no region kept the rest; see also `collect`.
    """
    found = RECORDING_CACHE.find_unchanged(latent["samples"], asked)
    if found is None:
        raise NothingRecorded(
            "There is no latent without the change: it comes from Prompt Where a Concept Is with way: keep the rest. "
            "Choose that way, or sample without the region."
        )
    return found


def _recording_wrapper(
    settings: Settings,
    on_result: OnResult,
    stop_after_last_layer: bool = False,
    plan: Plan | None = None,
    records: bool = True,
) -> Any:
    """An OUTER_SAMPLE wrapper: a plain function, as the host calls `.to` on objects that have it.

    Args:
        settings, on_result, stop_after_last_layer: see `patch_model`.
        plan: what acts.
        records: whether somebody asked for these settings; if not, they follow from the plan.
    """

    results = [on_result]
    if plan is not None and records:  # what acted is looked up by the latent, whoever gets the recording
        results.append(_put_into(RECORDING_CACHE, settings))

    def sample_and_record(executor: Any, *args: Any, **kwargs: Any) -> Any:
        options: dict[str, Any] = {"stop_after_last_layer": stop_after_last_layer, "acting": plan}
        output, result = record(executor, args, kwargs, settings, **options)
        shapes = kwargs.get("latent_shapes") or ()
        problems: list[str] = []
        with guarded(problems.append):
            returned = _as_returned(executor.class_obj, output, result, shapes)
            for put in results:
                put(*returned)
        if problems:
            with guarded(logger.warning):
                on_result(_unpack(output, shapes), RunResult(None, f"{problems[0]}.", None))
        return output

    vars(sample_and_record).update(settings=settings, plan=plan, on_result=on_result, records=records)
    return sample_and_record


def _wrapper_of(model: Any) -> Any:
    """A MODEL's `_recording_wrapper`, or None."""
    found = model.wrappers.get(WrappersMP.OUTER_SAMPLE, {}).get(KEY)
    return found[0] if found else None


def _with_wrapper(model: Any, wrapper: Any) -> Any:
    """A copy of a MODEL with this wrapper, or with none, in place of one that it may have."""
    patched = model.clone()
    patched.remove_wrappers_with_key(WrappersMP.OUTER_SAMPLE, KEY)
    if wrapper is not None:
        patched.add_wrapper_with_key(WrappersMP.OUTER_SAMPLE, KEY, wrapper)
    return patched


def _check_same(followed: EncodedConcepts, wanted: EncodedConcepts) -> None:
    if followed.fingerprint() != wanted.fingerprint():
        raise UserError(
            "One run has one list of concepts, and this MODEL has another one already. Connect the same Encode "
            "Concepts to all nodes that record or act in it."
        )


def _put_into(cache: RecordingCache, settings: Settings) -> OnResult:
    fingerprint = settings.fingerprint()

    def on_result(output: Any, result: RunResult) -> None:
        latents = [output] if result.denoised is None else [output, result.denoised]
        cache.put(latents, fingerprint, result.recording, result.reason, result.unchanged)

    return on_result


def _refuse_recorded(wrappers: Mapping[str, Any], model_options: Mapping[str, Any]) -> None:
    options = model_options.get("transformer_options", {}).get("wrappers", {})
    found = [one for place in (wrappers, options) for one in place.get(WrappersMP.OUTER_SAMPLE, {}).get(KEY, ())]
    if any(getattr(one, "records", True) for one in found):
        raise UserError(
            "This MODEL records concepts already, and one run is recorded once. Connect the MODEL from before the "
            "patch node, or give that node all the concepts."
        )


def _as_returned(guider: Any, output: Any, result: RunResult, shapes: Sequence[Any]) -> tuple[Any, RunResult]:
    """Output and result as the host's nodes return them: several latents unpacked, x0 in the VAE's scale."""
    output, denoised = _unpack(output, shapes), result.denoised
    if denoised is not None:
        denoised = guider.model_patcher.model.process_latent_out(_unpack(denoised, shapes).cpu())
    return output, dataclasses.replace(result, denoised=denoised)


def _unpack(samples: Any, shapes: Sequence[Any]) -> Any:
    if len(shapes) < 2:
        return samples
    return comfy.nested_tensor.NestedTensor(comfy.utils.unpack_latents(samples, shapes))
