"""Cosmos 1 in ComfyUI.

Follows `Attention.cal_qkv` of comfy/ldm/cosmos/blocks.py (0.19 to 0.33).

Convention: the batch is the second axis of tokens; queries and keys are by heads, (B, heads, tokens, head_dim). Image
tokens are frame by frame, row-major.
"""

from __future__ import annotations

from typing import Any

from comfy.ldm.cosmos.model import GeneralDIT
from torch import Tensor

from ....architecture import Architecture, middle_layers
from ..block_call import BlockCall
from ..network import Layers, network_of
from .adapter import CrossAdapter, CrossModules


class Cosmos(CrossAdapter):
    supported = ("Cosmos",)

    def matches(self, model: Any) -> bool:
        return isinstance(network_of(model), GeneralDIT)

    def describe(self, model: Any) -> Architecture:
        network = network_of(model)
        count = len(network.blocks)
        return Architecture(
            name="cosmos",
            layer_count=count,
            text_width=_attention(network.blocks["block0"]).to_k[0].in_features,
            patch=network.patch_spatial,
            default_layers=middle_layers(count, 1 / 3),
            frame_patch=network.patch_temporal,
            frames_per_latent=8,
            reading="cross",
        )

    def layers(self, network: Any) -> Layers:
        return list(network.blocks.values())

    def cross_modules(self, block: Any) -> CrossModules:
        attn = _attention(block)
        return CrossModules(attn.to_q[1], attn.to_k[1], attn.to_out, attn.heads)

    def split_heads(self, states: Tensor, heads: int) -> Tensor:
        return states

    def concept_keys(self, block: Any, tokens: Tensor, call: BlockCall) -> Tensor:
        attn = _attention(block)
        return attn.to_k[1](attn.to_k[0](tokens).unflatten(-1, (attn.heads, attn.dim_head)).transpose(1, 2))

    def batch_first(self, output: Tensor) -> Tensor:
        return output.transpose(0, 1)

    def text_bias(self, call: BlockCall) -> Tensor | None:
        return call.arguments.get("crossattn_mask")


def _attention(block: Any) -> Any:
    """The cross-attention of a block."""
    return next(part.block.attn for part in block.blocks if part.block_type in ("cross_attn", "ca"))
