"""Qwen-Image 2.1 in diffusers: one stream in which attention is causal, so that no text token looks at the image.

Follows `QwenImage21TransformerBlock` and `QwenImage21AttnProcessor` of
diffusers/models/transformers/transformer_qwenimage21.py (0.42). A layer's text is what the layers before made of it, at
timestep 0 and without the image. So every concept goes through the layers as a prompt of its own, on its own code. Its
keys are the same in every step and made once a run. The prompt's are among the keys of the image's attention in every
step, also where a cache holds them.

Convention: the joint sequence is the prompt, with the tokens of condition images in it, then the target image.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from diffusers import QwenImage21Transformer2DModel
from diffusers.models.transformers.transformer_qwenimage21 import QwenImage21TransformerBlock
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from ....encoded import ConceptText
from ....joint_text import as_bias
from ...attention_calls import AttentionCall, listening
from ...named import Arguments
from ...watch import BlockCall
from .adapter import CrossAdapter, Grid, Read


class _Places(NamedTuple):
    """Where what is in the joint sequence.

    Attributes:
        tokens: how many there are.
        text: positions of the prompt's tokens.
        valid: which of these are no padding, (B, T); None if all are.
    """

    tokens: int
    text: Tensor
    valid: Tensor | None


class QwenImage21(CrossAdapter):
    """The adapter of Qwen-Image 2.1."""

    name = "qwen_image21"
    transformer_class = QwenImage21Transformer2DModel
    block_class = QwenImage21TransformerBlock
    attention_name = "attn"
    width_name = "context_in_dim"
    chained = True

    def target_grid(self, transformer: Any, arguments: Arguments) -> Grid:
        frames, rows, columns = arguments["img_shapes"][0][-1]
        return frames, rows, columns

    def steady(self, transformer: Any) -> bool:
        return bool(transformer.config.causal_condition)

    def places(self, transformer: Any, arguments: Arguments) -> _Places:
        image, valid = arguments["img_mask"][0], arguments.get("encoder_hidden_states_mask")
        joint = image.repeat_interleave(torch.where(image, 4, 1))  # an image's place is that of 2 x 2 tokens
        if valid is not None:
            valid = valid.bool()[:, ~image[: valid.shape[1]]]
        return _Places(len(joint), (~joint).nonzero()[:, 0], valid)

    def begin(self, texts: Sequence[ConceptText], call: BlockCall) -> Tensor:
        """All texts up to their own tokens, (C, T, D); what pads them at their ends nobody attends to."""
        rows = [call.transformer.txt_in(text.states[None, : text.own[1]])[0] for text in texts]
        return pad_sequence(rows, batch_first=True)

    def concept_keys(
        self, call: BlockCall, given: Arguments, tokens: Tensor, texts: Sequence[ConceptText]
    ) -> tuple[list[Tensor], Tensor]:
        keys: list[Tensor] = []

        def answer(attention: AttentionCall) -> Tensor:
            parts = (attention.query, attention.key, attention.value)
            query, key, value = (attention.heads_first(part) for part in parts)
            if not query.shape[2]:  # of the image
                return attention.query
            keys.append(key)
            out = F.scaled_dot_product_attention(query, key, value, is_causal=True, scale=attention.scale)
            return attention.heads_first(out)

        nothing = dict.fromkeys(name for name in call.arguments if name not in ("modulation", "hidden_states"))
        own = {"hidden_states": tokens, "modulation": self._modulation(call), "segments": [(0, tokens.shape[1], True)]}
        turns = torch.cat([axis[: tokens.shape[1]] for axis in call.transformer.pos_embed.freqs], dim=-1)
        with listening(answer):
            after = type(call.block).forward(call.block, **{**nothing, **own, "rotary_emb": turns})
        own_keys = [key[None, :, slice(*text.own)] for key, text in zip(keys[0], texts, strict=True)]
        return own_keys, after

    def read(self, call: BlockCall, given: Arguments, attention: AttentionCall, out: Tensor, grid: Grid) -> Read | None:
        places, target = call.places, math.prod(grid)
        keys, count = (attention.heads_first(part) for part in (attention.key, attention.query))
        if keys.shape[2] < places.tokens or count.shape[2] not in (target, keys.shape[2]):
            return None  # that of a part of the prompt
        first = 0 if count.shape[2] == target else places.tokens - target
        bias = None if places.valid is None else as_bias(places.valid[:, None, None], call.rows, len(places.text))
        return Read.of(call, attention, out, slice(first, first + target), keys[:, :, places.text], bias)

    def _modulation(self, call: BlockCall) -> Tensor:
        """That of the text: at timestep 0, or at that of the step, which all rows have."""
        modulation = call.arguments["modulation"]
        return modulation[-1:] if call.transformer.config.causal_condition else modulation[:1]
