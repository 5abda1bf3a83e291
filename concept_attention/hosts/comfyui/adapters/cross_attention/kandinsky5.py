"""Kandinsky 5 in ComfyUI.

Follows `CrossAttention` and `forward_orig` of comfy/ldm/kandinsky5/model.py (0.19 to 0.33). Its text goes through
blocks of its own in every forward pass: every concept goes through them as a prompt.

Convention: image tokens are frame by frame, row-major.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from comfy.ldm.kandinsky5.model import Kandinsky5 as Kandinsky5Network
from torch import Tensor, nn

from ....architecture import Architecture, middle_layers
from ....encoded import ConceptText
from ..block_call import BlockCall
from ..network import Layers, network_of
from .adapter import CrossAdapter, CrossModules


class Kandinsky5(CrossAdapter):
    supported = ("Kandinsky 5",)

    def matches(self, model: Any) -> bool:
        return isinstance(network_of(model), Kandinsky5Network)

    def describe(self, model: Any) -> Architecture:
        network = network_of(model)
        count = len(network.visual_transformer_blocks)
        return Architecture(
            name="kandinsky5",
            layer_count=count,
            text_width=network.text_embeddings.in_layer.in_features,
            patch=network.patch_size[1],
            default_layers=middle_layers(count, 1 / 3),
            frame_patch=network.patch_size[0],
            frames_per_latent=0 if type(model).__name__ == "Kandinsky5Image" else 4,
            reading="cross",
        )

    def layers(self, network: Any) -> Layers:
        return network.visual_transformer_blocks

    def conditioning_modules(self, network: Any) -> Mapping[str, nn.Module]:
        return {"text": network.text_transformer_blocks[0]}

    def cross_modules(self, block: Any) -> CrossModules:
        attn = block.cross_attention
        return CrossModules(attn.query_norm, attn.key_norm, attn.out_layer, attn.num_heads)

    def concept_tokens(self, network: Any, text: ConceptText) -> Tensor:
        return text.states

    def refine_tokens(
        self, network: Any, tokens: Sequence[Tensor], texts: Sequence[ConceptText], call: BlockCall
    ) -> Sequence[Tensor]:
        """Concepts whose texts are of one length go through the blocks for texts together, each as a prompt."""
        time_embed = call.select(call.calls["text"].arguments[1])  # of the prompt's pooled text as well
        rows, refined = len(time_embed), dict[int, Tensor]()
        for length in {part.shape[1] for part in tokens}:
            alike = [index for index, part in enumerate(tokens) if part.shape[1] == length]
            context = torch.cat([tokens[index] for index in alike])
            freqs = network.rope_encode_1d(length, device=context.device, dtype=context.dtype)
            context = network.text_embeddings(context).repeat_interleave(rows, dim=0)
            time = time_embed.repeat(len(alike), *[1] * (time_embed.ndim - 1))
            for block in network.text_transformer_blocks:
                context = block(context, time, freqs)
            refined |= dict(zip(alike, context.split(rows), strict=True))
        return [refined[index][:, slice(*text.own)] for index, text in enumerate(texts)]

    def concept_keys(self, block: Any, tokens: Tensor, call: BlockCall) -> Tensor:
        attn = block.cross_attention
        return attn.key_norm(attn.to_key(tokens).unflatten(-1, (attn.num_heads, -1)))
