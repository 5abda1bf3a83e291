"""MiniMax-H3 in diffusers: video with sound, from a text, keyframes or references; and its images.

Arguments are those of `MiniMaxH3TransformerBlock.forward` of diffusers/models/transformers/transformer_minimax_h3.py
(0.42). All tokens are one sequence on shared weights; what is added and multiplied depends on the kind of token.
Concepts are text.

Convention: text comes first, then keyframes or references, sound, and last the generated video, frame by frame,
row-major. Concepts attend to all of them but the text.
Source: arXiv:2502.04320, Sec. 4.1, carried over to one stream; the authors have no such model.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import torch
from diffusers import MiniMaxH3Transformer3DModel
from diffusers.models.transformers.transformer_minimax_h3 import MiniMaxH3TransformerBlock
from torch import Tensor

from ...architecture import Architecture
from ..named import Arguments
from ..watch import BlockCall
from .own_block import OneStreamAdapter, Tokens, at_positions

FRAME_PATTERN = (1, 4, 4, 4, 4)  # video frames per latent frame, over and over


class MiniMaxH3(OneStreamAdapter):
    """The adapter of MiniMax-H3."""

    name = "minimax_h3"
    transformer_class = MiniMaxH3Transformer3DModel
    block_class = MiniMaxH3TransformerBlock

    def describe(self, transformer: Any) -> Architecture:
        frame_patch, patch, _ = transformer.config.patch_size
        sizes = {"patch": patch, "frame_patch": frame_patch, "frames_per_latent": max(FRAME_PATTERN)}
        return replace(super().describe(transformer), **sizes, frame_pattern=FRAME_PATTERN)

    def text_width(self, transformer: Any) -> int:
        return int(transformer.config.text_dim)

    def target_grid(self, transformer: Any, arguments: Arguments) -> tuple[int, int, int]:
        places = arguments["position_ids"][_target(arguments)]
        frame = places[places[:, 0] == places[-1, 0]]
        columns = int((frame[:, 1] == frame[0, 1]).sum())
        return len(places) // len(frame), len(frame) // columns, columns

    def image_tokens(self, call: BlockCall, keys: int) -> Tokens:
        target = _target(call.evaluation)
        others = torch.ones(keys, dtype=torch.bool, device=target.device)
        others[target] = others[call.evaluation["text_indices"]] = False
        return torch.cat([target, others.nonzero()[:, 0]])

    def project_concepts(self, transformer: Any, embeddings: Tensor, call: BlockCall) -> Tensor:
        """Each refined alone, as a prompt of one token."""
        alone = transformer.context_embedder(embeddings).flatten(0, 1)[:, None]
        return transformer.token_refiner(alone).view(*embeddings.shape[:2], -1)

    def concept_arguments(self, concept: Tensor, call: BlockCall) -> dict[str, Any]:
        """The first text token's modulation and rotation."""
        given, first = call.arguments, int(call.evaluation["text_indices"][0])
        return {
            "hidden_states": concept,
            "temb": given["temb"],
            "adaln_indices": at_positions(given["adaln_indices"], 0, first, concept),
            "rotary_emb": tuple(at_positions(part, 0, first, concept) for part in given["rotary_emb"]),
        }


def _target(arguments: Arguments) -> Tensor:
    """Positions of the generated video in the sequence: what comes after the generated sound."""
    video, sound = arguments["video_indices"], arguments["audio_indices"]
    return video[video > sound.max()] if len(sound) else video
