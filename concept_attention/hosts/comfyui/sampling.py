"""Sampling with concepts through ComfyUI's own functions, so that previews, masks and latents are ComfyUI's."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import nodes
from comfy_extras.nodes_custom_sampler import SamplerCustomAdvanced

from ...recording.recording import Recording
from .engine.run import RunResult
from .engine.settings import Settings
from .patching import patch_guider, patch_model
from .recording_cache import NothingRecorded


class ResultHolder:
    """An `on_result` that holds the latest run's result."""

    def __init__(self) -> None:
        self._result: RunResult | None = None

    def __call__(self, output: Any, result: RunResult) -> None:
        self._result = result

    def recording(self) -> Recording:
        """The latest run's recording.

        Raises:
            NothingRecorded: if there is none; it says why.
        """
        if self._result is None:
            raise NothingRecorded(
                "Nothing was recorded: no step was sampled. Give the sampler steps, and denoise above 0."
            )
        if self._result.recording is None:
            raise NothingRecorded(f"Nothing was recorded: {self._result.reason}")
        return self._result.recording

    def beside(self, *outputs: Any) -> Recording:
        """The latest run's recording, to return beside what was sampled.

        Raises:
            NothingRecorded: with `outputs`, if there is none.
        """
        try:
            return self.recording()
        except NothingRecorded as missing:
            missing.outputs = outputs
            raise


def sample(
    model: Any,
    settings: Settings,
    seed: int,
    steps: int,
    cfg: float,
    sampler_name: str,
    scheduler: str,
    positive: Any,
    negative: Any,
    latent: dict[str, Any],
    denoise: float = 1.0,
    on_result: Callable[[RunResult], None] | None = None,
) -> tuple[dict[str, Any], Recording]:
    """Sample as KSampler does, and record.

    Args:
        model: a MODEL without concept attention; it is not changed.
        settings: what to record.
        seed, steps, cfg, sampler_name, scheduler, positive, negative, latent, denoise: see KSampler.
        on_result: called with the run's result.

    Returns:
        KSampler's LATENT, bit for bit, and the recording. Of a run that ended early, its prediction of the clean image.

    Raises:
        UserError: see `patch_model`.
        NothingRecorded: if nothing was recorded; it has the LATENT.
    """
    holder = ResultHolder()

    def hold(output: Any, result: RunResult) -> None:
        holder(output, result)
        if on_result is not None:
            on_result(result)

    patched = patch_model(model, settings, hold)
    (output,) = nodes.common_ksampler(
        patched, seed, steps, cfg, sampler_name, scheduler, positive, negative, latent, denoise=denoise
    )
    return output, holder.beside(output)


def sample_custom(
    noise: Any, guider: Any, sampler: Any, sigmas: Any, latent: dict[str, Any], settings: Settings
) -> tuple[dict[str, Any], dict[str, Any], Recording]:
    """Sample as SamplerCustomAdvanced does, and record.

    Args:
        noise, guider, sampler, sigmas, latent: see SamplerCustomAdvanced; the guider is not changed.
        settings: what to record.

    Returns:
        Both LATENTs of SamplerCustomAdvanced, bit for bit, and the recording.

    Raises:
        UserError: see `patch_guider`.
        NothingRecorded: if nothing was recorded; it has both LATENTs.
    """
    holder = ResultHolder()
    patched = patch_guider(guider, settings, holder)
    output, denoised = SamplerCustomAdvanced.execute(noise, patched, sampler, sigmas, latent).result
    return output, denoised, holder.beside(output, denoised)
