"""Kandinsky 5 in diffusers.

Follows `Kandinsky5TransformerDecoderBlock` and `Kandinsky5Transformer3DModel.forward` of
diffusers/models/transformers/transformer_kandinsky.py (0.42). Its text goes through blocks of its own in every
evaluation: every concept goes through them as a prompt.

Convention: latents are (B, frames, height, width, channels), image tokens frame by frame, row-major.
"""

from __future__ import annotations

from typing import Any

import torch
from diffusers import Kandinsky5Transformer3DModel
from diffusers.models.transformers.transformer_kandinsky import Kandinsky5TransformerDecoderBlock
from torch import Tensor

from ....encoded import ConceptText
from ....reasons import NotRecordable
from ...named import Arguments
from ...watch import BlockCall
from .adapter import CrossAdapter, Grid


class Kandinsky5(CrossAdapter):
    """The adapter of Kandinsky 5."""

    name = "kandinsky5"
    transformer_class = Kandinsky5Transformer3DModel
    block_class = Kandinsky5TransformerDecoderBlock
    blocks = "visual_transformer_blocks"
    attention_name = "cross_attention"
    width_name = "in_text_dim"
    frames_per_latent = 4

    def target_grid(self, transformer: Any, arguments: Arguments) -> Grid:
        if (arguments.get("sparse_params") or {}).get("to_fractal"):
            raise NotRecordable("its sparse attention takes the tokens in another order")
        frames, height, width = arguments["hidden_states"].shape[1:4]
        frame_patch, patch = self.patch(transformer)
        return frames // frame_patch, height // patch, width // patch

    def concept_tokens(self, transformer: Any, text: ConceptText, call: BlockCall) -> Tensor:
        time = call.select(call.arguments["time_embed"])  # of the prompt's pooled text as well
        tokens = transformer.text_embeddings(text.states[None]).expand(len(time), -1, -1)
        places = torch.arange(tokens.shape[1], device=tokens.device)
        turns = transformer.text_rope_embeddings(places)[None]
        for block in transformer.text_transformer_blocks:
            tokens = block(tokens, time, turns)
        return tokens[:, slice(*text.own)]
