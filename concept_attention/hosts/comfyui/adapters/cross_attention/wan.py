"""Wan 2.1 and 2.2 in ComfyUI: text to video, image to video, and what is made of the same blocks.

Follows `WanT2VCrossAttention` and `WanI2VCrossAttention` of comfy/ldm/wan/model.py (0.19 to 0.33). The text that a
clip's picture is added to as further keys has a projection of its own, which is not read.

Convention: image tokens are frame by frame, row-major; those of a reference image come before them, those of other
videos behind. Wan Animate 2 calls the parts of its blocks by themselves, and each block's cross-attention also for the
video of poses, which is not mapped.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import comfy.ldm.wan.model
from comfy.ldm.wan.model import WanModel
from torch import Tensor, nn

from ....architecture import Architecture, middle_layers
from ....encoded import ConceptText
from ...guard import NotRecordable
from ..block_call import BlockCall
from ..network import Layers, network_of
from .adapter import CrossAdapter, CrossModules, Grid

SCAIL = getattr(comfy.ldm.wan.model, "SCAILWanModel", ())  # missing in older versions


class Wan(CrossAdapter):
    supported = ("Wan 2.1", "Wan 2.2")

    def matches(self, model: Any) -> bool:
        return isinstance(network_of(model), WanModel)

    def describe(self, model: Any) -> Architecture:
        network = network_of(model)
        count = len(network.blocks)
        return Architecture(
            name="wan",
            layer_count=count,
            text_width=network.text_embedding[0].in_features,
            patch=network.patch_size[1],
            default_layers=middle_layers(count, 1 / 3),
            frame_patch=network.patch_size[0],
            frames_per_latent=4,
            reading="cross",
        )

    def layers(self, network: Any) -> Layers:
        return network.blocks

    def called_module(self, block: Any) -> nn.Module:
        return block.cross_attn

    def observes(self, network: Any, call: BlockCall) -> bool:
        """Not for the video of poses, which is one latent frame shorter than the generated one."""
        sides = zip(call.inputs["x"].shape[2:], network.patch_size, strict=True)
        tokens = math.prod(-(-side // patch) for side, patch in sides)
        return bool(call.arguments["x"].shape[1] >= tokens)

    def cross_modules(self, block: Any) -> CrossModules:
        attn = block.cross_attn
        return CrossModules(attn.norm_q, attn.norm_k, attn.o, attn.num_heads)

    def refine_tokens(
        self, network: Any, tokens: Sequence[Tensor], texts: Sequence[ConceptText], call: BlockCall
    ) -> Sequence[Tensor]:
        return [network.text_embedding(part) for part in tokens]

    def concept_keys(self, block: Any, tokens: Tensor, call: BlockCall) -> Tensor:
        return block.cross_attn.norm_k(block.cross_attn.k(tokens))

    def image_tokens(self, network: Any, call: BlockCall, count: int, grid: Grid) -> tuple[slice, Grid]:
        tokens, frame = grid[0] * grid[1] * grid[2], grid[1] * grid[2]
        reference = call.inputs.get("reference_latent")
        first = 0
        if reference is not None and isinstance(network, SCAIL):
            first = frame * (reference.shape[2] // network.patch_size[0])
        elif reference is not None and getattr(network, "ref_conv", None) is not None:
            first = frame
        if first + tokens > count:
            raise NotRecordable(f"its cross-attention has {count} image tokens, the target video has {tokens}")
        return slice(first, first + tokens), grid
