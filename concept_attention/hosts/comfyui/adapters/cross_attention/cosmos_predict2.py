"""Cosmos Predict2 and Anima in ComfyUI.

Follows `Attention.compute_qkv` of comfy/ldm/cosmos/predict2.py and `Anima.preprocess_text_embeds` of
comfy/ldm/anima/model.py (0.19 to 0.33). Anima's adapter lets the tokens of a T5 tokenizer ask the text encoder's
states; what they learn are the text tokens that the image attends to.

Convention: image tokens are frame by frame, row-major.
"""

from __future__ import annotations

from typing import Any

from comfy.ldm.cosmos.predict2 import MiniTrainDIT
from torch import Tensor

from ....architecture import Architecture, middle_layers
from ....encoded import ConceptText
from ..block_call import BlockCall
from ..network import Layers, network_of
from .adapter import CrossAdapter, CrossModules


class CosmosPredict2(CrossAdapter):
    supported = ("Anima", "Cosmos Predict2")

    def matches(self, model: Any) -> bool:
        return isinstance(network_of(model), MiniTrainDIT)

    def describe(self, model: Any) -> Architecture:
        network = network_of(model)
        count, adapter = len(network.blocks), getattr(network, "llm_adapter", None)
        keys = network.blocks[0].cross_attn if adapter is None else adapter.blocks[0].cross_attn
        return Architecture(
            name="cosmos_predict2" if adapter is None else "anima",
            layer_count=count,
            text_width=keys.context_dim,
            patch=network.patch_spatial,
            default_layers=middle_layers(count, 1 / 3),
            frame_patch=network.patch_temporal,
            frames_per_latent=4 if adapter is None else 0,
            reading="cross",
        )

    def layers(self, network: Any) -> Layers:
        return network.blocks

    def cross_modules(self, block: Any) -> CrossModules:
        attn = block.cross_attn
        return CrossModules(attn.q_norm, attn.k_norm, attn.output_proj, attn.n_heads)

    def concept_tokens(self, network: Any, text: ConceptText) -> Tensor:
        ids = text.options.get("t5xxl_ids")
        if ids is None or not hasattr(network, "llm_adapter"):
            return text.tokens
        context = network.preprocess_text_embeds(text.states[None], ids[None].to(text.states.device))
        return context[0, : max(1, len(ids) - 1)]  # the last one ends the text

    def concept_keys(self, block: Any, tokens: Tensor, call: BlockCall) -> Tensor:
        attn = block.cross_attn
        return attn.k_norm(attn.k_proj(tokens).unflatten(-1, (attn.n_heads, attn.head_dim)))
