"""Training of the landscape model with CogVideoX's architecture."""

from __future__ import annotations

from typing import Any

from diffusers import CogVideoXDPMScheduler, CogVideoXPipeline
from diffusers.models.embeddings import get_3d_rotary_pos_embed
from diffusers.pipelines.cogvideo.pipeline_cogvideox import get_resize_crop_region_for_grid
from torch import Tensor

from ...hosts.architecture import AUTHORS_COGVIDEOX_LAYERS, first_layers
from ...scores import MODES
from ..models.autoencoders import linear_video_vae
from ..models.cogvideox import BLOCKS, FRAMES, build_cogvideox_parts
from ..models.parts import JointParts
from ..models.text_encoders import build_t5_tokenizer
from ..models.texts import TEXT_TOKENS, t5_row, words
from .family import Family, Stage, drop_prompts, encode_t5
from .pool import COARSE
from .process import VARIANCE_PRESERVING


def _scheduler() -> CogVideoXDPMScheduler:
    """CogVideoX-5B's scheduler, which draws fresh noise at every step."""
    return CogVideoXDPMScheduler(
        clip_sample=False,
        prediction_type="v_prediction",
        rescale_betas_zero_snr=True,
        snr_shift_scale=1.0,
        timestep_spacing="trailing",
    )


_LEVELS = (1 - _scheduler().alphas_cumprod).clamp(min=0).sqrt()  # noise level of every timestep


def _velocity(parts: JointParts, noisy: Tensor, sigma: Tensor, t5: Tensor, clip: Tensor, chance: Tensor) -> Tensor:
    if noisy.ndim == 4:  # images are clips of one frame
        return _velocity(parts, noisy[:, None], sigma, t5, clip, chance)[:, 0]
    _, frames, _, height, width = noisy.shape
    timestep = (_LEVELS.to(sigma) - sigma[:, None]).abs().argmin(dim=1)
    grid, base = (height // 2, width // 2), parts.transformer.config.sample_width // 2
    rotary = get_3d_rotary_pos_embed(
        embed_dim=parts.transformer.config.attention_head_dim,
        crops_coords=get_resize_crop_region_for_grid(grid, base, base),
        grid_size=grid,
        temporal_size=frames,
        device=noisy.device,
    )
    return parts.transformer(
        hidden_states=noisy,
        encoder_hidden_states=encode_t5(parts, drop_prompts(t5, chance, t5_row)),
        timestep=timestep,
        image_rotary_emb=rotary,
        return_dict=False,
    )[0]


def _assemble(**modules: Any) -> CogVideoXPipeline:
    return CogVideoXPipeline(tokenizer=build_t5_tokenizer(words()), **modules)


COGVIDEOX = Family(
    build=lambda: build_cogvideox_parts(len(words())),
    modules={"transformer": "transformer", "t5": "text_encoder"},
    assemble=_assemble,
    velocity=_velocity,
    unpack=lambda latents, rows: latents,
    map_layers=first_layers(BLOCKS, AUTHORS_COGVIDEOX_LAYERS),
    mode=MODES["cogvideox"],
    # Images first: what things look like is learned at a ninth of the cost.
    stages=(Stage(0.3, COARSE), Stage(1.0, COARSE, FRAMES)),
    lengths=(TEXT_TOKENS,),
    process=VARIANCE_PRESERVING,
    scheduler=_scheduler,
    vae=linear_video_vae,
)
