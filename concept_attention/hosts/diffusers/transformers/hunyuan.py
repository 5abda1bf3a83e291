"""HunyuanVideo (text, first frame, FramePack), HunyuanVideo 1.5, HunyuanImage 2.1 and Motif-Video in diffusers.

Arguments are those of the blocks' `forward` in diffusers/models/transformers/transformer_hunyuan_video.py,
transformer_hunyuan_video15.py, transformer_hunyuanimage.py, transformer_motif_video.py and
transformer_hunyuan_video_framepack.py (0.42). Concepts are
modulated as the prompt's tokens are, with its pooled vector where there is one.

Convention: the video's tokens come first, row-major over frames, rows and columns, then the text's, which have no
position.
"""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import torch
from diffusers import (
    HunyuanImageTransformer2DModel,
    HunyuanVideo15Transformer3DModel,
    HunyuanVideoFramepackTransformer3DModel,
    HunyuanVideoTransformer3DModel,
    MotifVideoTransformer3DModel,
)
from diffusers.models.transformers.transformer_hunyuan_video import (
    HunyuanVideoTokenReplaceTransformerBlock,
    HunyuanVideoTransformerBlock,
)
from diffusers.models.transformers.transformer_hunyuan_video15 import HunyuanVideo15TransformerBlock
from diffusers.models.transformers.transformer_hunyuanimage import HunyuanImageTransformerBlock
from diffusers.models.transformers.transformer_motif_video import MotifVideoTransformerBlock
from torch import Tensor

from ...architecture import Architecture
from ..named import Arguments
from ..watch import BlockCall
from .own_block import Tokens, TwoStreamAdapter

FRAMES_PER_LATENT = 4  # of the VAEs of all of them


class HunyuanVideo(TwoStreamAdapter):
    """The adapter of HunyuanVideo, text to video and image to video."""

    name = "hunyuan_video"
    transformer_class = HunyuanVideoTransformer3DModel
    block_class = (HunyuanVideoTransformerBlock, HunyuanVideoTokenReplaceTransformerBlock)
    text_output = 1
    text_first = False
    text_goes_on = True
    turns = "freqs_cis"  # name of the image's rotations

    def describe(self, transformer: Any) -> Architecture:
        config = transformer.config
        sizes = {"patch": config.patch_size, "frame_patch": config.patch_size_t}
        return replace(super().describe(transformer), **sizes, frames_per_latent=FRAMES_PER_LATENT)

    def text_width(self, transformer: Any) -> int:
        return int(transformer.config.text_embed_dim)

    def target_grid(self, transformer: Any, arguments: Arguments) -> tuple[int, int, int]:
        _, _, frames, height, width = arguments["hidden_states"].shape
        patch = transformer.config.patch_size
        return frames // transformer.config.patch_size_t, height // patch, width // patch

    def project_concepts(self, transformer: Any, embeddings: Tensor, call: BlockCall) -> Tensor:
        """In the token refiner all tokens of a prompt see each other and their mean, so each is alone."""
        count = embeddings.shape[1]
        timestep = call.select(call.evaluation["timestep"]).expand(len(embeddings)).repeat_interleave(count)
        refined = transformer.context_embedder(embeddings.flatten(0, 1)[:, None], timestep, None)
        return refined.view(*embeddings.shape[:2], -1)

    def position_arguments(self, concept: Tensor, call: BlockCall) -> dict[str, Any]:
        given = call.arguments
        own: dict[str, Any] = {self.turns: tuple(part[: self.along] for part in given[self.turns])}
        if given.get("token_replace_emb") is not None:  # the first frame is given, and has another modulation
            own["token_replace_emb"] = call.select(given["token_replace_emb"])
            own["num_tokens"] = self.along
        return own


class HunyuanVideo15(HunyuanVideo):
    """The adapter of HunyuanVideo 1.5, whose text tokens tell text from glyphs and images."""

    transformer_class = HunyuanVideo15Transformer3DModel
    block_class = HunyuanVideo15TransformerBlock
    text_goes_on = False

    def project_concepts(self, transformer: Any, embeddings: Tensor, call: BlockCall) -> Tensor:
        kind = transformer.cond_type_embed(torch.zeros(1, dtype=torch.long, device=embeddings.device))
        return super().project_concepts(transformer, embeddings, call) + kind

    def position_arguments(self, concept: Tensor, call: BlockCall) -> dict[str, Any]:
        everything = torch.ones(concept.shape[:2], dtype=torch.bool, device=concept.device)
        return {**super().position_arguments(concept, call), "attention_mask": everything}


class HunyuanImage(HunyuanVideo):
    """The adapter of HunyuanImage 2.1."""

    transformer_class = HunyuanImageTransformer2DModel
    block_class = HunyuanImageTransformerBlock
    turns = "image_rotary_emb"

    def describe(self, transformer: Any) -> Architecture:
        *_, patch = transformer.config.patch_size
        return replace(super(HunyuanVideo, self).describe(transformer), patch=patch)

    def target_grid(self, transformer: Any, arguments: Arguments) -> tuple[int, int, int]:
        patches = transformer.config.patch_size
        sizes = arguments["hidden_states"].shape[-len(patches) :]
        *frames, rows, columns = (size // patch for size, patch in zip(sizes, patches, strict=True))
        return (frames or [1])[0], rows, columns


class MotifVideo(HunyuanVideo):
    """The adapter of Motif-Video, whose blocks may have cross-attention to the text behind the joint attention."""

    name = "motif_video"
    transformer_class = MotifVideoTransformer3DModel
    block_class = MotifVideoTransformerBlock
    turns = "image_rotary_emb"

    def project_concepts(self, transformer: Any, embeddings: Tensor, call: BlockCall) -> Tensor:
        return transformer.context_embedder(embeddings)

    def position_arguments(self, concept: Tensor, call: BlockCall) -> dict[str, Any]:
        return {**super().position_arguments(concept, call), "image_embed_seq_len": 0}


class Framepack(HunyuanVideo):
    """The adapter of HunyuanVideo FramePack, in which the frames before, ever coarser, come before the new ones.

    Its text has tokens of an image as well, which concepts do not attend to. A run of a pipeline makes one section of
    the video after the other; the first is recorded.
    """

    name = "framepack"
    transformer_class = HunyuanVideoFramepackTransformer3DModel
    block_class = HunyuanVideoTransformerBlock

    def image_tokens(self, call: BlockCall, keys: int) -> Tokens:
        image = torch.arange(call.arguments["hidden_states"].shape[1])
        return image.roll(math.prod(self.target_grid(call.transformer, call.evaluation)))
