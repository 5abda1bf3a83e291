"""HunyuanDiT in ComfyUI.

Follows `CrossAttention` of comfy/ldm/hydit/attn_layers.py and `HunYuanDiT.forward` of models.py (0.19 to 0.33). A
prompt is read by two text encoders, and the image attends to the tokens of both: so are concepts.
"""

from __future__ import annotations

from typing import Any

import torch
from comfy.ldm.hydit.attn_layers import apply_rotary_emb
from comfy.ldm.hydit.models import HunYuanDiT
from torch import Tensor

from ....architecture import Architecture, middle_layers
from ....encoded import ConceptText
from ..block_call import BlockCall
from ..network import Layers, network_of
from .adapter import CrossAdapter, CrossModules


class HunyuanDiT(CrossAdapter):
    supported = ("HunyuanDiT",)

    def matches(self, model: Any) -> bool:
        return isinstance(network_of(model), HunYuanDiT)

    def describe(self, model: Any) -> Architecture:
        network = network_of(model)
        count = len(network.blocks)
        return Architecture(
            name="hunyuan_dit",
            layer_count=count,
            text_width=network.text_states_dim,
            patch=network.patch_size,
            default_layers=middle_layers(count, 1 / 3),
            reading="cross",
        )

    def layers(self, network: Any) -> Layers:
        return network.blocks

    def cross_modules(self, block: Any) -> CrossModules:
        attn = block.attn2
        return CrossModules(attn.q_norm, attn.k_norm, attn.out_proj, attn.num_heads)

    def concept_tokens(self, network: Any, text: ConceptText) -> Tensor:
        states, mask = text.options.get("conditioning_mt5xl"), text.options.get("attention_mask_mt5xl")
        if states is None or mask is None:
            return text.tokens
        own = int(mask.sum()) - 1  # the last one ends the text
        return torch.cat([text.tokens, network.mlp_t5(states[0, : max(1, own)].to(text.states))])

    def finish_queries(self, block: Any, queries: Tensor, call: BlockCall) -> Tensor:
        freqs = call.arguments.get("freq_cis_img")
        return queries if freqs is None else apply_rotary_emb(queries, None, freqs)[0]

    def concept_keys(self, block: Any, tokens: Tensor, call: BlockCall) -> Tensor:
        attn = block.attn2
        return attn.k_norm(attn.kv_proj(tokens).unflatten(-1, (2, attn.num_heads, attn.head_dim)).unbind(2)[0])
