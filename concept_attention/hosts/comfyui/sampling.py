"""Sampling with concepts through core's own functions, so that widgets, previews, masks and results are core's."""

from __future__ import annotations

from typing import Any

import nodes
from comfy_extras.nodes_custom_sampler import SamplerCustomAdvanced

from ...recording.recording import Recording
from .engine.run import RunResult
from .engine.settings import Settings
from .patching import patch_guider, patch_model


class ResultHolder:
    """An `on_result` that keeps what the latest run recorded."""

    def __init__(self) -> None:
        self._result: RunResult | None = None

    def __call__(self, output: Any, result: RunResult) -> None:
        self._result = result

    def recording(self) -> Recording:
        """What was recorded.

        Raises:
            ValueError: if nothing was; it says why.
        """
        if self._result is None:
            raise ValueError("Nothing was recorded: no step was sampled. Give the sampler steps, and denoise above 0.")
        if self._result.recording is None:
            raise ValueError(f"Nothing was recorded: {self._result.reason}")
        return self._result.recording


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
) -> tuple[dict[str, Any], Recording]:
    """What KSampler does, and the recording of it.

    Args:
        model: a MODEL without concept attention; it is not changed.
        settings: what to record.
        seed, steps, cfg, sampler_name, scheduler, positive, negative, latent, denoise: as of KSampler.

    Returns:
        KSampler's LATENT, bit for bit, and the recording.

    Raises:
        ValueError: as `patch_model`, and if nothing was recorded.
    """
    kept = ResultHolder()
    patched = patch_model(model, settings, kept)
    (output,) = nodes.common_ksampler(
        patched, seed, steps, cfg, sampler_name, scheduler, positive, negative, latent, denoise=denoise
    )
    return output, kept.recording()


def sample_custom(
    noise: Any, guider: Any, sampler: Any, sigmas: Any, latent: dict[str, Any], settings: Settings
) -> tuple[dict[str, Any], dict[str, Any], Recording]:
    """What SamplerCustomAdvanced does, and the recording of it.

    Args:
        noise, guider, sampler, sigmas, latent: as of SamplerCustomAdvanced; the guider is not changed.
        settings: what to record.

    Returns:
        Both LATENTs of SamplerCustomAdvanced, bit for bit, and the recording.

    Raises:
        ValueError: as `patch_guider`, and if nothing was recorded.
    """
    kept = ResultHolder()
    patched = patch_guider(guider, settings, kept)
    output, denoised = SamplerCustomAdvanced.execute(noise, patched, sampler, sigmas, latent).result
    return output, denoised, kept.recording()
