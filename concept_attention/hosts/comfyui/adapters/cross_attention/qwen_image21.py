"""Qwen-Image 2.1 in ComfyUI: one stream in which attention is causal, so that no text token looks at the image.

Follows `QwenImage21TransformerBlock` and `build_sequence` of comfy/ldm/qwen_image21/model.py (0.37). A layer's text is
what the layers before made of it, at timestep 0 and without the image. So every concept goes through all layers as a
prompt of its own, once a run, and its keys are the same in every step. ComfyUI keeps the prompt's keys from the first
step on, and hands them to a layer's attention in a closure.

Convention: the joint sequence is the prompt, with the tokens of reference images in it, then the target image, which is
row-major.
"""

from __future__ import annotations

import inspect
from itertools import pairwise
from typing import Any

import torch
from comfy.ldm.flux.math import apply_rope1
from comfy.ldm.qwen_image21.model import QwenImage21Transformer2DModel, block_causal_attention
from torch import Tensor, nn

from ....architecture import Architecture, middle_layers
from ....encoded import ConceptText
from ...guard import NotRecordable
from ..block_call import OPTIONS, BlockCall
from ..network import Layers, network_of
from .adapter import CrossAdapter, CrossModules, Grid


class QwenImage21(CrossAdapter):
    supported = ("Qwen-Image 2.1",)

    def matches(self, model: Any) -> bool:
        return isinstance(network_of(model), QwenImage21Transformer2DModel)

    def describe(self, model: Any) -> Architecture:
        network = network_of(model)
        count = len(network.transformer_blocks)
        return Architecture(
            name="qwen_image21",
            layer_count=count,
            text_width=network.txt_in.in_layer.in_features,
            patch=1,
            default_layers=middle_layers(count, 1 / 3),
            reading="cross",
        )

    def layers(self, network: Any) -> Layers:
        return network.transformer_blocks

    def cross_modules(self, block: Any) -> CrossModules:
        attn = block.attn
        return CrossModules(attn.to_q, attn.to_k, attn.to_out[0], attn.heads)

    def observes(self, network: Any, call: BlockCall) -> bool:
        """Not the call of a layer that fills the cache: it has no image in it."""
        return bool(call.arguments["x"].shape[1] > call.arguments["prefix_len"])

    def concept_tokens(self, network: Any, text: ConceptText) -> Tensor:
        """A concept's keys in all layers, one layer after another, (n, L * heads * head_dim)."""
        tokens = network.txt_in(text.states[None])
        count = tokens.shape[1]
        causal = torch.ones(count, count, dtype=torch.bool, device=tokens.device).tril()
        attention = block_causal_attention([(0, count, causal)])
        places = torch.arange(count, dtype=torch.float32, device=tokens.device)[None, :, None].expand(-1, -1, 3)
        pe = network.pe_embedder(places).transpose(1, 2).contiguous()
        keys: list[Tensor] = []

        def attend(q: Tensor, k: Tensor, v: Tensor, heads: int, **options: Any) -> Tensor:
            keys.append(k[0, slice(*text.own)].flatten(1))
            output: Tensor = attention(q, k, v, heads, **options)
            return output

        modulation = _modulation_of_text(network, tokens)
        for block in network.transformer_blocks:
            tokens = block(tokens, modulation, pe, attend, count, {})
        return torch.cat(keys, dim=1)

    def concept_keys(self, block: Any, tokens: Tensor, call: BlockCall) -> Tensor:
        width = block.attn.to_k.out_features
        return tokens.narrow(-1, width * call.arguments[OPTIONS]["block_index"], width)

    def finish_queries(self, block: Any, queries: Tensor, call: BlockCall) -> Tensor:
        return _finish(block.attn.norm_q, queries, block.attn.heads, call.arguments["pe"])

    def prompt_keys(self, block: Any, keys: Tensor, batch: int, call: BlockCall) -> Tensor:
        places = _text_places(call, keys.device)
        if call.arguments["prefix_len"]:
            pe = call.arguments["pe"][:, places]
            return _finish(block.attn.norm_k, keys[:, places], block.attn.heads, pe)
        kept = inspect.getclosurevars(call.arguments["attn_fn"]).nonlocals.get("prefix_k")
        if kept is None:
            raise NotRecordable("the prompt that ComfyUI keeps for all steps cannot be seen in this version")
        return kept[:, places].flatten(2)

    def image_tokens(self, network: Any, call: BlockCall, count: int, grid: Grid) -> tuple[slice, Grid]:
        first = int(call.arguments["prefix_len"])
        image, _ = super().image_tokens(network, call, count - first, grid)
        return slice(first, first + image.stop), grid


def _finish(norm: nn.Module, states: Tensor, heads: int, pe: Tensor) -> Tensor:
    """Queries or keys, (B, N, heads * head_dim), as they meet in the attention."""
    rotated: Tensor = apply_rope1(norm(states.unflatten(-1, (heads, -1))), pe)
    return rotated.flatten(2)


def _modulation_of_text(network: Any, like: Tensor) -> tuple[Any, ...]:
    """A layer's `mod` for a sequence of text alone, which is at timestep 0."""
    embedded = network.time_text_embed(like.new_zeros(1), like.dtype)
    scale1, gate1, scale2, gate2 = network.modulation(embedded)[:, None].chunk(4, dim=-1)
    parts = (scale1, gate1.tanh(), scale2, gate2.tanh())
    return (*((part, part) for part in parts), torch.zeros_like(scale1))


def _text_places(call: BlockCall, device: torch.device) -> Tensor:
    """Positions of the prompt's tokens in the joint sequence, in which each reference image stands at its slot."""
    length = call.inputs["context"].shape[1]
    references = call.inputs.get("ref_latents") or []
    slots = [*(call.inputs.get("image_slots") or []), *[length] * len(references)][: len(references)]
    sizes = [0, *(one.shape[-2] * one.shape[-1] for one in references)]
    parts, before = [], 0
    for (begin, end), size in zip(pairwise([0, *slots, length]), sizes, strict=True):
        before += size
        parts.append(torch.arange(before + begin, before + end, device=device))
    return torch.cat(parts)
