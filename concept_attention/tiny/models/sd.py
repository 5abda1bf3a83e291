"""The parts of the landscape model with Stable Diffusion 2's architecture: a U-Net with cross-attention to CLIP."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from diffusers import UNet2DConditionModel
from transformers import CLIPTextModel

from .codec import CHANNELS
from .parts import Parts
from .text_encoders import clip_config
from .texts import TEXT_TOKENS

WIDTHS = (64, 128)  # of the U-Net's two sizes, 16 x 16 and 8 x 8 positions; as in SDXL, the finer has no attention
HEAD = 64  # as in Stable Diffusion 2
TEXT_WIDTH = 64
TEXT_LAYERS = 0  # a token stands for its own word: with layers, small models read prompts from articles and padding


@dataclass
class SDParts(Parts):
    """One CLIP, whose tokens the U-Net attends to."""

    unet: UNet2DConditionModel
    clip: CLIPTextModel


def build_sd_parts(words: int) -> SDParts:
    """The U-Net and its text encoder for a vocabulary of `words` words, freshly initialised.

    The text comes in on the way up only, when the picture has been looked at. Earlier, a small model spreads what the
    prompt says over the whole picture, and no word needs a place.
    """
    unet = UNet2DConditionModel(
        sample_size=16,
        in_channels=CHANNELS,
        out_channels=CHANNELS,
        down_block_types=("DownBlock2D", "DownBlock2D"),
        mid_block_type="UNetMidBlock2D",
        up_block_types=("CrossAttnUpBlock2D", "UpBlock2D"),
        block_out_channels=WIDTHS,
        layers_per_block=1,
        cross_attention_dim=TEXT_WIDTH,
        attention_head_dim=tuple(width // HEAD for width in WIDTHS),  # diffusers' name for the number of heads here
        use_linear_projection=True,
    )
    config = clip_config(words, TEXT_WIDTH)
    config.num_hidden_layers = TEXT_LAYERS
    config.max_position_embeddings = TEXT_TOKENS  # ComfyUI reads as many tokens as there are positions
    clip = CLIPTextModel(config)
    (positions,) = (p for name, p in clip.named_parameters() if "position_embedding" in name)
    torch.nn.init.zeros_(positions.requires_grad_(False))  # the order of words says nothing
    return SDParts(unet, clip)
