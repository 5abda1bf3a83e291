"""Training of the landscape model with Stable Diffusion 3's architecture."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from diffusers import StableDiffusion3Pipeline
from torch import Tensor

from ...scores import MODES
from ..models.sd3 import BLOCKS, SD3Parts, build_sd3_parts
from ..models.text_encoders import TEXT_WIDTH, build_clip_tokenizer, build_t5_tokenizer
from ..models.texts import TEXT_TOKENS, clip_row, t5_row, words
from .family import Family, Stage, drop_prompts, encode_t5
from .pool import COARSE

TRAIN_STEPS = 1000  # timestep of sigma 1


def _velocity(parts: SD3Parts, noisy: Tensor, sigma: Tensor, t5: Tensor, clip: Tensor, chance: Tensor) -> Tensor:
    # A dropped prompt is dropped from all encoders: SD3 has no zero pooled vector.
    t5, clip = drop_prompts(t5, chance, t5_row), drop_prompts(clip, chance, clip_row)
    encoded = [encoder(input_ids=clip, output_hidden_states=True) for encoder in (parts.clip_l, parts.clip_g)]
    tokens = torch.cat([one.hidden_states[-2] for one in encoded], dim=-1)
    tokens = F.pad(tokens, (0, TEXT_WIDTH - tokens.shape[-1]))
    return parts.transformer(
        hidden_states=noisy,
        encoder_hidden_states=torch.cat([tokens, encode_t5(parts, t5)], dim=1),
        pooled_projections=torch.cat([one.text_embeds for one in encoded], dim=-1),
        timestep=sigma * TRAIN_STEPS,
        return_dict=False,
    )[0]


def _assemble(**modules: Any) -> StableDiffusion3Pipeline:
    return StableDiffusion3Pipeline(
        tokenizer=build_clip_tokenizer(words(), TEXT_TOKENS),
        tokenizer_2=build_clip_tokenizer(words(), TEXT_TOKENS),
        tokenizer_3=build_t5_tokenizer(words()),
        **modules,
    )


SD3 = Family(
    build=lambda: build_sd3_parts(len(words())),
    modules={
        "transformer": "transformer",
        "t5": "text_encoder_3",
        "clip_l": "text_encoder",
        "clip_g": "text_encoder_2",
    },
    assemble=_assemble,
    velocity=_velocity,
    unpack=lambda latents, rows: latents,
    map_layers=tuple(range(BLOCKS)),
    mode=MODES["sd3"],
    stages=(Stage(1.0, COARSE),),
    lengths=(TEXT_TOKENS,),
)
