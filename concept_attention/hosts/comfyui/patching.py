"""Concept attention on a MODEL or a GUIDER: a copy with one wrapper around every sampling run, and nothing else.

The copy carries configuration, never results: each run's state is its own, and `on_result` gets what came of it.
"""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import comfy.model_patcher
import comfy.nested_tensor
import comfy.patcher_extension
import comfy.utils
from comfy.patcher_extension import WrappersMP

from ...recording.recording import Recording
from .engine.run import KEY, RunResult, record
from .engine.settings import Settings
from .recording_cache import RECORDING_CACHE, RecordingCache

# Called with a run's result as the host's nodes hand it on, but for its device and dtype; `denoised` likewise.
OnResult = Callable[[Any, RunResult], None]


def patch_model(model: Any, settings: Settings, on_result: OnResult | None = None, *, stop: bool = False) -> Any:
    """A MODEL that records concepts whenever, and with whatever, it is sampled.

    Args:
        model: a ModelPatcher; it is not changed.
        settings: what to record.
        on_result: called after each finished run, never after one that raised; None lays the recording on the shelf,
            where `collect` finds it.
        stop: end each forward pass after the last kept layer; what is sampled means nothing then.

    Raises:
        ValueError: if the model cannot be recorded with these settings, or is patched already.
    """
    settings.check(model.model)
    _refuse_patched(model.wrappers, model.model_options)
    patched = model.clone()
    wrapper = _recording_wrapper(settings, on_result or _lay_on(RECORDING_CACHE, settings), stop)
    patched.add_wrapper_with_key(WrappersMP.OUTER_SAMPLE, KEY, wrapper)
    return patched


def patch_guider(guider: Any, settings: Settings, on_result: OnResult) -> Any:
    """A GUIDER that records concepts when it samples; arguments as for `patch_model`.

    It is a copy with model options of its own, as the host keeps the guider for the next prompt.
    """
    settings.check(guider.model_patcher.model)
    _refuse_patched(guider.model_patcher.wrappers, guider.model_options)
    patched = copy.copy(guider)
    patched.model_options = comfy.model_patcher.create_model_options_clone(guider.model_options)
    wrapper = _recording_wrapper(settings, on_result)
    comfy.patcher_extension.add_wrapper_with_key(
        WrappersMP.OUTER_SAMPLE, KEY, wrapper, patched.model_options, is_model_options=True
    )
    return patched


def settings_of(model: Any) -> Settings:
    """What a patched MODEL records.

    Raises:
        ValueError: if it is not patched.
    """
    found = model.wrappers.get(WrappersMP.OUTER_SAMPLE, {}).get(KEY)
    if not found:
        raise ValueError("The connected MODEL has no concept attention. Connect the patch node's MODEL.")
    return found[0].settings


def collect(latent: Mapping[str, Any], model: Any | None = None) -> Recording:
    """The recording of the run that returned this LATENT.

    Args:
        latent: as a sampler with a patched MODEL returned it; of SamplerCustomAdvanced either output.
        model: the patched MODEL; needed where the same latent was sampled with several.

    Raises:
        ValueError: as `RecordingCache.find` and `settings_of`.
    """
    return RECORDING_CACHE.find(latent["samples"], None if model is None else settings_of(model).fingerprint())


def _recording_wrapper(settings: Settings, on_result: OnResult, stop: bool = False) -> Callable[..., Any]:
    """An OUTER_SAMPLE wrapper: a plain function, as the host calls `.to` on objects that have it."""

    def sample_and_record(executor: Any, *args: Any, **kwargs: Any) -> Any:
        output, result = record(executor, args, kwargs, settings, stop=stop)
        on_result(*_as_returned(executor.class_obj, output, result, kwargs.get("latent_shapes") or ()))
        return output

    sample_and_record.settings = settings  # type: ignore[attr-defined]
    return sample_and_record


def _lay_on(shelf: RecordingCache, settings: Settings) -> OnResult:
    fingerprint = settings.fingerprint()

    def lay(output: Any, result: RunResult) -> None:
        latents = [output] if result.denoised is None else [output, result.denoised]
        shelf.put(latents, fingerprint, result.recording, result.reason)

    return lay


def _refuse_patched(wrappers: Mapping[str, Any], model_options: Mapping[str, Any]) -> None:
    options = model_options.get("transformer_options", {}).get("wrappers", {})
    if any(KEY in found.get(WrappersMP.OUTER_SAMPLE, {}) for found in (wrappers, options)):
        raise ValueError(
            "This MODEL records concepts already, and one run is recorded once. Connect the MODEL from before the "
            "patch node, or give that node all the concepts."
        )


def _as_returned(guider: Any, output: Any, result: RunResult, shapes: Sequence[Any]) -> tuple[Any, RunResult]:
    """The run's results as core's nodes return them: unpacked where there are several, x0 in the VAE's scale."""
    output, denoised = _unpack(output, shapes), result.denoised
    if denoised is not None:
        denoised = guider.model_patcher.model.process_latent_out(_unpack(denoised, shapes).cpu())
    return output, dataclasses.replace(result, denoised=denoised)


def _unpack(samples: Any, shapes: Sequence[Any]) -> Any:
    if len(shapes) < 2:
        return samples
    return comfy.nested_tensor.NestedTensor(comfy.utils.unpack_latents(samples, shapes))
