"""The parts of the landscape model with Stable Diffusion 3's architecture: T5, two CLIPs, no RoPE.

As in 3.5 medium, queries and keys are normalised, the first block has a second attention among image tokens only, and
in the last block the text stream ends with its attention.
"""

from __future__ import annotations

from dataclasses import dataclass

from diffusers import SD3Transformer2DModel
from transformers import CLIPTextModelWithProjection

from .codec import CHANNELS
from .parts import JointParts
from .text_encoders import TEXT_WIDTH, build_t5, clip_config

BLOCKS = 4
HEADS = 2  # of 64, as in Stable Diffusion 3
CLIP_L_WIDTH = 32
CLIP_G_WIDTH = 64  # together narrower than T5 and padded with zeros, as in Stable Diffusion 3


@dataclass
class SD3Parts(JointParts):
    """Both CLIPs give tokens and a pooled vector."""

    clip_l: CLIPTextModelWithProjection
    clip_g: CLIPTextModelWithProjection


def build_sd3_parts(words: int) -> SD3Parts:
    """The transformer and its text encoders for a vocabulary of `words` words, freshly initialised."""
    transformer = SD3Transformer2DModel(
        sample_size=32,
        patch_size=2,
        in_channels=CHANNELS,
        out_channels=CHANNELS,
        num_layers=BLOCKS,
        attention_head_dim=TEXT_WIDTH // HEADS,
        num_attention_heads=HEADS,
        joint_attention_dim=TEXT_WIDTH,
        caption_projection_dim=TEXT_WIDTH,
        pooled_projection_dim=CLIP_L_WIDTH + CLIP_G_WIDTH,
        pos_embed_max_size=16,
        dual_attention_layers=(0,),
        qk_norm="rms_norm",
    )
    clip_l = CLIPTextModelWithProjection(clip_config(words, CLIP_L_WIDTH))
    clip_g = CLIPTextModelWithProjection(clip_config(words, CLIP_G_WIDTH, "gelu"))
    return SD3Parts(transformer, build_t5(words), clip_l, clip_g)
