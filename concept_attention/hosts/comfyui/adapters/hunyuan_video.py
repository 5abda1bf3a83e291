"""HunyuanVideo, HunyuanVideo 1.5 and HunyuanImage 2.1 in ComfyUI, from text or from a first frame.

Read `double_stream.py` first. Text in and modulation follow `HunyuanVideo.forward_orig` of
comfy/ldm/hunyuan_video/model.py (0.19 to 0.33). Concepts are modulated as the prompt's tokens are, with its pooled
vector where there is one.

Convention: text tokens (those of pictures and of glyphs among them) come first, then the tokens of a reference frame,
then the video's, row-major over frames, rows and columns.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import comfy.model_base
import torch
from comfy.ldm.hunyuan_video.model import HunyuanVideo
from torch import Tensor, nn

from ...architecture import Architecture, TokenSlices
from . import double_stream
from .block_call import BlockCall, ModuleCall, Rows
from .network import network

SUPPORTED = ("HunyuanVideo", "HunyuanVideo 1.5", "HunyuanImage 2.1")

FRAMES_PER_LATENT = 4  # of the VAEs of both generations


def matches(model: Any) -> bool:
    return isinstance(network(model), HunyuanVideo)


def describe(model: Any) -> Architecture:
    hunyuan = network(model)
    frame_patch, patch, _ = (1, *hunyuan.patch_size)[-3:]  # pictures have no first one
    frames = FRAMES_PER_LATENT if isinstance(model, comfy.model_base.HunyuanVideo) else 0
    return double_stream.describe(
        hunyuan, "hunyuan_video", patch=patch, frame_patch=frame_patch, frames_per_latent=frames
    )


joint_blocks = double_stream.joint_blocks


def token_slices(call: BlockCall, keys: int, tokens: int) -> TokenSlices:
    """Where the streams lie among `keys` keys, of which the last `tokens` are the video's."""
    return replace(double_stream.token_slices(call, keys, tokens), picture=slice(keys - tokens, keys))


def conditioning_modules(hunyuan: Any) -> Mapping[str, nn.Module]:
    """The token refiner, which is told the timesteps."""
    return {"text": hunyuan.txt_in}


concept_modulation = double_stream.concept_modulation


def project_concepts(hunyuan: Any, embeddings: Tensor, calls: Mapping[str, ModuleCall], rows: Rows) -> Tensor:
    """Text encoder embeddings (1, C, E) to block-0 concept tokens, (B, C, D).

    In the token refiner all tokens of a text see each other, and their mean. Each concept is a text of its own there.
    """
    timesteps = calls["text"].arguments[1][rows]
    batch, count = len(timesteps), embeddings.shape[1]
    texts = embeddings.expand(batch, -1, -1).flatten(0, 1)[:, None]  # (B * C, 1, E)
    concept = hunyuan.txt_in(texts, timesteps.repeat_interleave(count), None).view(batch, count, -1)
    if hunyuan.cond_type_embedding is not None:  # 1.5 tells text, number 0, from glyphs and pictures
        kind = hunyuan.cond_type_embedding(torch.zeros(1, dtype=torch.long, device=concept.device))
        concept = concept + kind.to(concept)
    return concept


attend_concepts = double_stream.attend_concepts
update_concepts = double_stream.update_concepts
