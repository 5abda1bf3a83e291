"""HunyuanVideo, HunyuanVideo 1.5 and HunyuanImage 2.1 in ComfyUI, from text or from a first frame.

Read `double_stream.py` first. Text projection and modulation follow `HunyuanVideo.forward_orig` of
comfy/ldm/hunyuan_video/model.py (0.19 to 0.33). Concepts are modulated as the prompt's tokens are, with its pooled
vector where there is one.

Convention: text tokens (including those of images and glyphs) come first, then the tokens of a reference frame,
then the video's, row-major over frames, rows and columns.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import comfy.model_base
import torch
from comfy.ldm.hunyuan_video.model import HunyuanVideo as HunyuanVideoNetwork
from torch import Tensor, nn

from ...architecture import Architecture, TokenSlices
from .block_call import BlockCall
from .double_stream import DoubleStream
from .network import network_of

FRAMES_PER_LATENT = 4  # of the VAEs of both generations


class HunyuanVideo(DoubleStream):
    supported = ("HunyuanVideo", "HunyuanVideo 1.5", "HunyuanImage 2.1")

    def matches(self, model: Any) -> bool:
        return isinstance(network_of(model), HunyuanVideoNetwork)

    def describe(self, model: Any) -> Architecture:
        network = network_of(model)
        frame_patch, patch, _ = (1, *network.patch_size)[-3:]  # image models have no patch along time
        frames = FRAMES_PER_LATENT if isinstance(model, comfy.model_base.HunyuanVideo) else 0
        return self.describe_network(
            network, "hunyuan_video", patch=patch, frame_patch=frame_patch, frames_per_latent=frames
        )

    def token_slices(self, call: BlockCall, keys: int) -> TokenSlices:
        return replace(super().token_slices(call, keys), target=slice(keys - call.tokens, keys))

    def conditioning_modules(self, network: Any) -> Mapping[str, nn.Module]:
        """The token refiner, which receives the timesteps."""
        return {"text": network.txt_in}

    def project_concepts(self, network: Any, embeddings: Tensor, call: BlockCall) -> Tensor:
        """(B, C, D). In the token refiner all tokens of a prompt see each other and their mean, so each is alone."""
        timesteps = call.calls["text"].arguments[1][call.rows]
        batch, count = len(timesteps), embeddings.shape[1]
        texts = embeddings.expand(batch, -1, -1).flatten(0, 1)[:, None]  # (B * C, 1, E)
        concept = network.txt_in(texts, timesteps.repeat_interleave(count), None).view(batch, count, -1)
        if network.cond_type_embedding is not None:  # 1.5 tells text, number 0, from glyphs and images
            kind = network.cond_type_embedding(torch.zeros(1, dtype=torch.long, device=concept.device))
            concept = concept + kind.to(concept)
        return concept
