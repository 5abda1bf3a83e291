"""Training of the landscape model with Stable Diffusion 2's architecture, on images and captions alone.

Nothing teaches its maps. Where they are right, words have found their places by themselves.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import Any

from diffusers import DDIMScheduler, StableDiffusionPipeline
from torch import Tensor

from ..models.sd import SDParts, build_sd_parts
from ..models.text_encoders import build_clip_tokenizer
from ..models.texts import TEXT_TOKENS, words
from ..world.scenes import Scene
from .family import Family, Stage, sampling
from .pool import COARSE
from .process import VARIANCE_PRESERVING

EMPTY, CAPTION, NAMED = 0.12, 0.35, 0.8  # shares: of empty prompts, of captions, of the things that a list names


def _scheduler() -> DDIMScheduler:
    """Stable Diffusion 2's schedule; the model predicts v."""
    return DDIMScheduler(
        beta_start=0.00085,
        beta_end=0.012,
        beta_schedule="scaled_linear",
        clip_sample=False,
        set_alpha_to_one=False,
        steps_offset=1,
        prediction_type="v_prediction",
        timestep_spacing="trailing",
    )


_LEVELS = (1 - _scheduler().alphas_cumprod).sqrt()  # noise level of every timestep


def training_prompt(scene: Scene, rng: random.Random) -> str:
    """The caption of a scene, a list of some of its phrases, or nothing.

    What a list leaves out, nobody can tell from it: so each word tells something of its own.
    """
    chance = rng.random()
    if chance < EMPTY:
        return ""
    if chance < EMPTY + CAPTION:
        return scene.caption
    named = [phrase for phrase in scene.phrases.values() if rng.random() < NAMED]
    rng.shuffle(named)
    if rng.random() < 0.5:
        named = [f"a {phrase}" for phrase in named]
    return rng.choice((", ", " and ", " ")).join(named)


def _velocity(parts: SDParts, noisy: Tensor, sigma: Tensor, t5: Tensor, clip: Tensor, chance: Tensor) -> Tensor:
    timestep = (_LEVELS.to(sigma) - sigma[:, None]).abs().argmin(dim=1)
    text = parts.clip(input_ids=clip).last_hidden_state
    return parts.unet(noisy, timestep, text, return_dict=False)[0]


def _draw(pipeline: Any, prompts: Sequence[str], side: int, frames: int) -> Tensor:
    latents: Tensor = pipeline(list(prompts), guidance_scale=3.0, **sampling(side)).images
    return latents


def _assemble(**modules: Any) -> StableDiffusionPipeline:
    return StableDiffusionPipeline(
        tokenizer=build_clip_tokenizer(words(), TEXT_TOKENS),
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
        **modules,
    )


SD = Family(
    build=lambda: build_sd_parts(len(words())),
    modules={"unet": "unet", "clip": "text_encoder"},
    assemble=_assemble,
    velocity=_velocity,
    unpack=lambda latents, rows: latents,
    draw=_draw,
    output=lambda parts: parts.unet.conv_out,
    stages=(Stage(1.0, COARSE),),
    lengths=(TEXT_TOKENS,),
    prompt=training_prompt,
    process=VARIANCE_PRESERVING,
    scheduler=_scheduler,
)
