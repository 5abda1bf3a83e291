"""The concepts of existing pictures: noise them, look once per noise, stop after the last joint block that is kept."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from typing import Any

import comfy.model_management
import comfy.model_sampling
import comfy.sample
import comfy.samplers
import comfy.utils
import latent_preview
import torch
from comfy.model_sampling import CONST, COSMOS_RFLOW
from torch import Tensor

from ...recording.recording import Recording
from .adapters.registry import adapter_for
from .engine.live_preview import Callback
from .engine.settings import Settings
from .patching import patch_model
from .sampling import ResultHolder

SEEDS = 2**64  # ComfyUI's seeds and torch's
# CogVideoX's, which is shown what the sampler has: a latent of the standard deviation it was trained on must come so.
UNSCALED = getattr(comfy.model_sampling, "V_PREDICTION_DDPM", ())
GUIDANCE_OPTIONS = ("sampler_cfg_function", "sampler_post_cfg_function", "sampler_pre_cfg_function")


def analyze(
    model: Any,
    settings: Settings,
    latent: Mapping[str, Any],
    positive: list[Any] | None = None,
    noise: float = 0.5,
    samples: int = 1,
    seed: int = 0,
) -> Recording:
    """Record where the concepts are in existing pictures.

    Args:
        model: a MODEL without concept attention; it is not changed.
        settings: what to record; its range of steps does not matter here.
        latent: LATENT of pictures of one size, as the model's own VAE encodes them; its noise mask does not matter.
        positive: CONDITIONING of what the pictures show, or None. Its areas stay; ControlNets and the guidance do not,
            nor does the pooled text in a model whose concepts have none (`Architecture.pooled_text`).
        noise: level at which the model looks, above 0 (the picture) up to 1 (only noise). Flow models: their sigma.
            Others: the noise's share of the standard deviation, sigma / sqrt(1 + sigma^2).
        samples: independent noises; they are the recording's steps and are averaged by `make_heatmaps`.
        seed: of the first noise; noise i has seed + i and is the same for every picture.

    Returns:
        A recording with one picture per picture of the latent and one step per sample.

    Raises:
        ValueError: for a noise or number of samples out of range, a latent that is empty or not of this model, as
            `patch_model`, and if nothing was recorded.

    Source: the authors' `encode_image`: zero guidance, and in Flux 1 a zero pooled vector for the picture as well.
    """
    kept = ResultHolder()
    watched = patch_model(model, dataclasses.replace(settings, start_percent=0.0, end_percent=1.0), kept, stop=True)
    for option in GUIDANCE_OPTIONS:  # they would guide an output that is thrown away
        watched.model_options.pop(option, None)
    pictures = check_latent(model, latent["samples"])
    schedule = schedule_of(model, noise, samples)
    pooled = adapter_for(model.model).describe(model.model).pooled_text
    conds = look_conditions(settings.encoded.empty if positive is None else positive, pooled)
    guider = comfy.samplers.CFGGuider(watched)
    guider.inner_set_conds({"positive": conds})
    callback = latent_preview.prepare_callback(model, samples) if settings.live_preview else _progress(samples)
    guider.sample(torch.zeros_like(pictures), pictures, OneShotSampler(seed), schedule, callback=callback, seed=seed)
    return kept.recording()


def _progress(samples: int) -> Callback:
    """Moves the host's progress bar, and shows no preview: the pictures are known."""
    bar = comfy.utils.ProgressBar(samples)

    def on_sample(step: int, denoised: Tensor, noised: Tensor, total: int) -> None:
        bar.update_absolute(step + 1, total)

    return on_sample


class OneShotSampler(comfy.samplers.Sampler):
    """A sampler that evaluates the model once per sigma, each time on the same latent with a fresh noise."""

    def __init__(self, seed: int) -> None:
        self._seed = seed

    @torch.no_grad()
    def sample(
        self,
        model_wrap: Any,
        sigmas: Tensor,
        extra_args: dict[str, Any],
        callback: Any,
        noise: Tensor,
        latent_image: Tensor,
        denoise_mask: Tensor | None = None,
        disable_pbar: bool = False,
    ) -> Tensor:
        model_sampling = model_wrap.inner_model.model_sampling
        count = len(sigmas) - 1
        for index, sigma in enumerate(sigmas[:count]):
            comfy.model_management.throw_exception_if_processing_interrupted()
            fresh = seeded_noise(latent_image, self._seed + index)
            noised = model_sampling.noise_scaling(sigma, fresh, latent_image, self.max_denoise(model_wrap, sigmas))
            if isinstance(model_sampling, UNSCALED):
                noised = noised / (1 + sigma**2) ** 0.5
            model_wrap(noised, sigma.expand(len(noised)), **extra_args)
            callback(index, latent_image, noised, count)  # what a preview shows is the picture itself
        return latent_image


def seeded_noise(like: Tensor, seed: int) -> Tensor:
    """Normal noise for a latent (B, ...), the same for every picture of it and on every device."""
    generator = torch.Generator().manual_seed(seed % SEEDS)
    return torch.randn(like.shape[1:], generator=generator).to(like).expand_as(like)


def look_conditions(conditioning: list[Any], pooled: bool) -> list[Any]:
    """A CONDITIONING as a look at an existing picture reads it: no ControlNet, no guidance, pooled text or none.

    Raises:
        ValueError: if it is empty.
    """
    if not conditioning:
        raise ValueError("The positive CONDITIONING is empty. Connect a text's, or none.")
    looked = []
    for text, options in conditioning:
        options = {name: value for name, value in options.items() if not name.startswith("control")}
        if not pooled and options.get("pooled_output") is not None:
            options["pooled_output"] = torch.zeros_like(options["pooled_output"])
        looked.append([text, {**options, "guidance": 0.0}])
    return looked


def schedule_of(model: Any, noise: float, samples: int) -> Tensor:
    """The sigma of every sample, and one more, as a schedule of S steps has S + 1: (samples + 1,).

    Raises:
        ValueError: for a noise or number of samples out of range.
    """
    if not 0 < noise <= 1:
        raise ValueError(f"Noise must be above 0 and at most 1, got {noise:g}. 0.3 to 0.6 works best.")
    if samples < 1:
        raise ValueError(f"There must be at least one noise sample, got {samples}.")
    return torch.full((samples + 1,), sigma_at(model.get_model_object("model_sampling"), noise))


def sigma_at(model_sampling: Any, level: float) -> float:
    """Sigma of a model's own schedule at a noise level, 0-1; the inverse of `frame.noise_level`."""
    if isinstance(model_sampling, CONST):
        return level
    rest = 1 - level if isinstance(model_sampling, COSMOS_RFLOW) else math.sqrt(1 - level * level)
    largest = float(model_sampling.sigma_max)
    return min(largest, level / rest) if rest else largest


def check_latent(model: Any, samples: Any) -> Tensor:
    """The latent in the model's own number of dimensions.

    Models of pictures can have latents with a time axis as well, as Qwen-Image's: it holds one frame.

    Raises:
        ValueError: if it is empty, or not of this model.
    """
    layout = model.get_model_object("latent_format")
    video = adapter_for(model.model).describe(model.model).frames_per_latent > 0
    if getattr(samples, "is_nested", False):
        raise ValueError("This LATENT has several parts (picture and sound, for one). Connect one of a single picture.")
    shape, dimensions = tuple(samples.shape), (4, 5) if layout.latent_dimensions == 3 else (4,)
    one_picture = video or samples.ndim < 5 or shape[2] == 1
    if samples.ndim not in dimensions or shape[1] != layout.latent_channels or not one_picture:
        expected = f"(batch, {layout.latent_channels}, {'frames, ' if video else ''}height, width)"
        raise ValueError(
            f"This model looks at latents of shape {expected}, got {shape}. Encode the "
            f"{'pictures or frames' if video else 'picture, not a video,'} with the model's own VAE."
        )
    if not samples.any():
        raise ValueError("This LATENT is empty, there is no picture in it. Connect the LATENT of a VAE Encode node.")
    return comfy.sample.fix_empty_latent_channels(model, samples)
