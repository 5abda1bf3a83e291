"""The parts of the landscape model with Flux's architecture.

Head size 128 with axes 16/56/56 is what stock loaders recognise as Flux.
"""

from __future__ import annotations

from dataclasses import dataclass

from diffusers import FluxTransformer2DModel
from transformers import CLIPTextModel

from .codec import CHANNELS
from .parts import JointParts
from .text_encoders import TEXT_WIDTH, build_t5, clip_config

JOINT_BLOCKS = 4
SINGLE_BLOCKS = 6
POOLED_WIDTH = 64
SHIFT = 6.0  # of the sampler's sigmas towards the noise, where the layout is decided


@dataclass
class FluxParts(JointParts):
    """Flux has one CLIP, of which it takes the pooled vector."""

    clip: CLIPTextModel


def build_flux_parts(words: int) -> FluxParts:
    """The transformer and its text encoders for a vocabulary of `words` words, freshly initialised."""
    transformer = FluxTransformer2DModel(
        patch_size=1,
        in_channels=4 * CHANNELS,
        num_layers=JOINT_BLOCKS,
        num_single_layers=SINGLE_BLOCKS,
        attention_head_dim=128,
        num_attention_heads=1,
        joint_attention_dim=TEXT_WIDTH,
        pooled_projection_dim=POOLED_WIDTH,
        guidance_embeds=False,
        axes_dims_rope=(16, 56, 56),
    )
    return FluxParts(transformer, build_t5(words), CLIPTextModel(clip_config(words, POOLED_WIDTH)))
