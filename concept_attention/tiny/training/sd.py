"""Training of the landscape model with Stable Diffusion 2's architecture, on images and captions alone.

Nothing teaches its maps. Where they are right, words have found their places by themselves.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import Any, get_args

import torch
from diffusers import DDIMScheduler, StableDiffusionPipeline
from torch import Tensor
from transformers import CLIPTextModel

from ..models.sd import SDParts, build_sd_parts
from ..models.text_encoders import build_clip_tokenizer
from ..models.texts import SPECIAL, TEXT_TOKENS, UNKNOWN, words
from ..world.contents import Time
from ..world.scenes import COLORS, LABELS, OBJECTS, SKY, Scene
from ..world.views import View, draw_view
from .family import Family, Stage, sampling
from .pool import COARSE
from .process import VARIANCE_PRESERVING

EMPTY, CAPTION = 0.1, 0.4  # shares of empty prompts, and of captions of whole landscapes
NAMED, SURROUNDINGS_NAMED = 0.8, 0.95  # shares of the things, and of skies and grounds, that a list names
COLOURED, HOUR = 0.3, 0.8  # of the lists that name colours; of the skies of which a list names the time alone

COLLAGE = "collage"  # begins the prompts of what is no whole landscape; not in the vocabulary, so the unknown word
PADDING_HIDDEN = 0.65  # share of images for which only words with content can be looked at
_CONTENT = {*LABELS, *COLORS, *get_args(Time)}
_HAS_CONTENT = torch.tensor([False] * SPECIAL + [word in _CONTENT for word in words()])  # by token id


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
    """The caption of a landscape, a list of some of its phrases, or nothing; a list for a view of landscapes.

    What a list leaves out, nobody can tell from it, and a sky without its time is that of the day: so each word tells
    something of its own.
    """
    if isinstance(scene, View):
        return f"{COLLAGE} {_list(scene.pictures, rng) if rng.random() >= EMPTY else ''}"
    chance = rng.random()
    if chance < EMPTY:
        return ""
    return scene.caption if chance < EMPTY + CAPTION else _list((scene,), rng)


def _list(pictures: Sequence[Scene], rng: random.Random) -> str:
    coloured = rng.random() < COLOURED
    named = [
        _phrase(word, phrase, coloured, rng)
        for picture in pictures
        for word, phrase in picture.phrases.items()
        if rng.random() < (NAMED if word in OBJECTS else SURROUNDINGS_NAMED)
    ]
    named = list(dict.fromkeys(named))
    rng.shuffle(named)
    if rng.random() < 0.15:
        named = [f"a {phrase}" for phrase in named]
    return rng.choices((" ", ", ", " and "), (7, 3, 1))[0].join(named)


def _phrase(word: str, phrase: str, coloured: bool, rng: random.Random) -> str:
    """A label's word, with its colour if colours are named. "night" and "sunset" mostly stand for the sky."""
    first = phrase.split()[0]
    if first in COLORS and not coloured:
        return word
    return first if word == SKY and first not in (*COLORS, SKY) and rng.random() < HOUR else phrase


def _velocity(parts: SDParts, noisy: Tensor, sigma: Tensor, t5: Tensor, clip: Tensor, chance: Tensor) -> Tensor:
    timestep = (_LEVELS.to(sigma) - sigma[:, None]).abs().argmin(dim=1)
    text = parts.clip(input_ids=clip).last_hidden_state
    shown = _shown_tokens(clip, chance)
    return parts.unet(noisy, timestep, text, encoder_attention_mask=shown, return_dict=False)[0]


def _shown_tokens(ids: Tensor, chance: Tensor) -> Tensor:
    """Which tokens the U-Net may look at, (B, tokens) bool: all, or, where `chance` (B, 1) is high, words with content.

    Mostly a position has no need of words, and looks at padding. Where it cannot, it has to tell which word fits best.
    """
    content = _HAS_CONTENT.to(ids.device)[ids]
    return content | (chance < 1 - PADDING_HIDDEN) | ~content.any(dim=1, keepdim=True)


def _draw(pipeline: Any, prompts: Sequence[str], side: int, frames: int) -> Tensor:
    latents: Tensor = pipeline(list(prompts), guidance_scale=3.0, **sampling(side)).images
    return latents


def _assemble(**modules: Any) -> StableDiffusionPipeline:
    _forget_collages(modules["text_encoder"])
    return StableDiffusionPipeline(
        tokenizer=build_clip_tokenizer(words(), TEXT_TOKENS),
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
        **modules,
    )


@torch.no_grad()
def _forget_collages(clip: CLIPTextModel) -> None:
    """Make the unknown word, which marks collages in training, say as much as padding."""
    words = clip.get_input_embeddings().weight
    words[UNKNOWN] = words[clip.config.pad_token_id]


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
    scene=draw_view,
    prompt=training_prompt,
    process=VARIANCE_PRESERVING,
    scheduler=_scheduler,
)
