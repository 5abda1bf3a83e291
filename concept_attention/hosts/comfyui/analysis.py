"""Analysis of existing images: add noise, evaluate the model once per noise sample, record the concepts."""

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

from ...errors import UserError
from ...recording.recording import Recording
from .acting.prompts import base_of
from .adapters.registry import adapter_for
from .engine.live_preview import StepCallback
from .engine.settings import Settings
from .patching import patch_model
from .sampling import ResultHolder

SEEDS = 2**64  # ComfyUI's seeds and torch's
# CogVideoX gets the sampler's latent as it is, so this must have the standard deviation that the model was trained on.
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
    """Record the concepts in existing images. The model runs up to the last recorded joint block only.

    Args:
        model: a MODEL without concept attention; it is not changed.
        settings: what to record; its range of steps is ignored.
        latent: LATENT of images of one size, as the model's own VAE encodes them; its noise mask is ignored.
        positive: CONDITIONING that describes the images, or None. Its areas are used; regions, ControlNets and guidance
            are not, nor is the pooled text in a model whose concepts have none (`Architecture.pooled_text`).
        noise: noise level of the evaluations, above 0 (the image) up to 1 (only noise). Flow models: their sigma.
            Others: the noise's share of the standard deviation, sigma / sqrt(1 + sigma^2).
        samples: number of noise samples; they are the recording's steps and are averaged by `make_heatmaps`.
        seed: of the first noise sample; sample i has seed + i and is the same for every image.

    Returns:
        A recording with one image per image of the latent and one step per noise sample.

    Raises:
        UserError: for a noise or number of samples out of range, a latent that is empty or not of this model, see
            `patch_model`, and if nothing was recorded.

    Source: the authors' `encode_image`: zero guidance, and in Flux 1 a zero pooled vector for the image as well.
    """
    holder = ResultHolder()
    settings = dataclasses.replace(settings, start_percent=0.0, end_percent=1.0)
    patched = patch_model(model, settings, holder, stop_after_last_layer=True)
    for option in GUIDANCE_OPTIONS:  # they would guide an output that is thrown away
        patched.model_options.pop(option, None)
    images = check_latent(model, latent["samples"])
    schedule = make_schedule(model, noise, samples)
    pooled = adapter_for(model.model).describe(model.model).pooled_text
    conds = strip_conditioning(settings.encoded.empty_conditioning if positive is None else base_of(positive), pooled)
    guider = comfy.samplers.CFGGuider(patched)
    guider.inner_set_conds({"positive": conds})
    callback = latent_preview.prepare_callback(model, samples) if settings.live_preview else _progress(samples)
    guider.sample(images * 0.0, images, OneShotSampler(seed), schedule, callback=callback, seed=seed)
    return holder.recording()


def _progress(samples: int) -> StepCallback:
    """Moves the host's progress bar and shows no preview: the images are known."""
    bar = comfy.utils.ProgressBar(samples)

    def on_sample(step: int, denoised: Tensor, noised: Tensor, total: int) -> None:
        bar.update_absolute(step + 1, total)

    return on_sample


class OneShotSampler(comfy.samplers.Sampler):
    """A sampler that evaluates the model once per sigma, each time on the same latent with new noise."""

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
            callback(index, latent_image, noised, count)  # previews show the image itself
        return latent_image


def seeded_noise(like: Tensor, seed: int) -> Tensor:
    """Normal noise for a latent (B, ...), the same for every image of the batch and on every device."""
    generator = torch.Generator().manual_seed(seed % SEEDS)
    return torch.randn(like.shape[1:], generator=generator).to(like).expand_as(like)


def strip_conditioning(conditioning: list[Any], pooled: bool) -> list[Any]:
    """A CONDITIONING without ControlNets, with zero guidance, and with zero pooled text unless `pooled`.

    Raises:
        UserError: if it is empty.
    """
    if not conditioning:
        raise UserError("The positive CONDITIONING is empty. Connect that of a text, or none.")
    stripped = []
    for text, options in conditioning:
        options = {name: value for name, value in options.items() if not name.startswith("control")}
        if not pooled and options.get("pooled_output") is not None:
            options["pooled_output"] = torch.zeros_like(options["pooled_output"])
        stripped.append([text, {**options, "guidance": 0.0}])
    return stripped


def make_schedule(model: Any, noise: float, samples: int) -> Tensor:
    """The sigma of every noise sample, then 0, as a schedule of S steps has S + 1 values: (samples + 1,), float32.

    They are neighbouring numbers, no two the same, because caches (TeaCache, MagCache) look a step up by its sigma.

    Raises:
        UserError: for a noise or number of samples out of range.
    """
    if not 0 < noise <= 1:
        raise UserError(f"Noise must be above 0 and at most 1, got {noise:g}. 0.3 to 0.6 works best.")
    if samples < 1:
        raise UserError(f"There must be at least one noise sample, got {samples}.")
    sigma = torch.tensor(sigma_at(model.get_model_object("model_sampling"), noise), dtype=torch.float32)
    sigmas = (sigma.view(torch.int32) - torch.arange(samples, dtype=torch.int32)).view(torch.float32)
    return torch.cat([sigmas, torch.zeros(1)])


def sigma_at(model_sampling: Any, level: float) -> float:
    """Sigma of a model's own schedule at a noise level, 0-1; the inverse of `geometry.noise_level`."""
    if isinstance(model_sampling, CONST):
        return level
    rest = 1 - level if isinstance(model_sampling, COSMOS_RFLOW) else math.sqrt(1 - level * level)
    largest = float(model_sampling.sigma_max)
    return min(largest, level / rest) if rest else largest


def check_latent(model: Any, samples: Any) -> Any:
    """The latent with the model's own number of dimensions, and with silence in a model that makes sound as well.

    Image models can have latents with a time axis, too, such as Qwen-Image's: it holds one frame.

    Raises:
        UserError: if it is empty, larger than the model can take, or not of this model.
    """
    layout = model.get_model_object("latent_format")
    described = adapter_for(model.model).describe(model.model)
    video = described.frames_per_latent > 0
    if getattr(samples, "is_nested", False):
        raise UserError("This LATENT has several parts, such as video and sound. Connect one that holds only images.")
    shape, dimensions = tuple(samples.shape), (4, 5) if layout.latent_dimensions == 3 else (4,)
    one_frame = video or samples.ndim < 5 or shape[2] == 1
    channels = described.latent_channels or layout.latent_channels
    if samples.ndim not in dimensions or shape[1] != channels or not one_frame:
        expected = f"(batch, {channels}, {'frames, ' if video else ''}height, width)"
        raise UserError(
            f"This model needs latents of shape {expected}, got {shape}. Encode the "
            f"{'images or frames' if video else 'image, not a video,'} with the model's own VAE."
        )
    patch, pixels = described.patch, layout.spacial_downscale_ratio
    described.check_grid(-(-shape[-2] // patch), -(-shape[-1] // patch), patch * pixels)
    if not samples.any():
        raise UserError("This LATENT is empty, there is no image in it. Connect the LATENT of a VAE Encode node.")
    if described.latent_channels:
        return layout.fix_empty_latent(samples.unsqueeze(2) if samples.ndim == 4 else samples)
    return comfy.sample.fix_empty_latent_channels(model, samples)
