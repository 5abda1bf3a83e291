"""Training of the landscape model with Flux's architecture."""

from __future__ import annotations

from typing import Any

import torch
from diffusers import FluxPipeline
from torch import Tensor

from ...hosts.diffusers.transformers.flux import pack_latents, position_ids, unpack_latents
from ...scores import MODES
from ..models.flux import JOINT_BLOCKS, FluxParts, build_flux_parts
from ..models.text_encoders import build_clip_tokenizer, build_t5_tokenizer
from ..models.texts import TEXT_TOKENS, words
from .family import Family, Stage, encode_t5
from .pool import COARSE, FINE

POOLED = 0.5  # share of the images shown with their prompt's pooled vector


def _velocity(parts: FluxParts, noisy: Tensor, sigma: Tensor, t5: Tensor, clip: Tensor, chance: Tensor) -> Tensor:
    rows, columns = (side // 2 for side in noisy.shape[-2:])
    pooled = parts.clip(input_ids=clip).pooler_output
    predicted = parts.transformer(
        hidden_states=pack_latents(noisy),
        encoder_hidden_states=encode_t5(parts, t5),
        # Images are analysed with a zero pooled vector, as in the authors' code, so the model is trained on it.
        pooled_projections=pooled * (chance < POOLED),
        timestep=sigma,
        img_ids=position_ids(rows, columns, noisy.device),
        txt_ids=torch.zeros(t5.shape[1], 3, device=noisy.device),
        return_dict=False,
    )[0]
    return unpack_latents(predicted, rows)


def _assemble(**modules: Any) -> FluxPipeline:
    return FluxPipeline(tokenizer=build_clip_tokenizer(words()), tokenizer_2=build_t5_tokenizer(words()), **modules)


FLUX = Family(
    build=lambda: build_flux_parts(len(words())),
    modules={"transformer": "transformer", "t5": "text_encoder_2", "clip": "text_encoder"},
    assemble=_assemble,
    velocity=_velocity,
    unpack=unpack_latents,
    map_layers=tuple(range(JOINT_BLOCKS // 2, JOINT_BLOCKS)),  # the last half
    mode=MODES["flux"],
    stages=(Stage(0.45, COARSE), Stage(1.0, FINE)),  # a step on the 8x8 grid is cheap
    # The result must not depend on how far a pipeline pads.
    lengths=(TEXT_TOKENS,) * 12 + (64, 128, 256, 512),
)
