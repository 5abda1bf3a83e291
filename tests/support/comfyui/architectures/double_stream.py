"""What tiny models with the double-stream block of comfy/ldm/flux/layers.py have in common."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor

from concept_attention.hosts.comfyui.adapters.adapter import Adapter
from concept_attention.hosts.comfyui.adapters.block_call import ModuleCall

from .tiny_architecture import Arguments, TinyArchitecture, at_position

SIZES = {
    "hidden_size": 128,
    "num_heads": 2,
    "axes_dim": [8, 28, 28],
    "mlp_ratio": 4.0,
    "depth": 3,
    "depth_single_blocks": 1,
    "context_in_dim": 48,
    "qkv_bias": True,
}


def tiny_double_stream(
    name: str, adapter: Adapter, architecture: str, kind: str, config: Mapping[str, Any], **others: Any
) -> TinyArchitecture:
    """A tiny model with text 48 wide and a latent of 12 x 8 pixels, 2x2 per token, unless `others` differ.

    Args:
        others: fields of `TinyArchitecture`; and `position`, the text token whose position the concepts have.
    """
    position = others.pop("position", 0)

    def swap(arguments: Arguments, concept: Tensor) -> Arguments:
        pe = at_position(arguments["pe"], 2, arguments["txt"].shape[1], concept.shape[1], position)
        return {**arguments, "txt": concept, "pe": pe, "attn_mask": None}

    fields = {
        "latent": (1, 16, 12, 8),
        "grid": (1, 6, 4),
        "text_width": 48,
        "project": _project,
        "swap": swap,
        "text_in": lambda arguments: arguments["txt"],
        "text_out": lambda output: output[1],
        **others,
    }
    return TinyArchitecture(name, adapter, architecture, kind, {**SIZES, **config}, **fields)


def _project(network: Any, embeddings: Tensor, calls: Mapping[str, ModuleCall]) -> Tensor:
    return network.txt_in(embeddings)
