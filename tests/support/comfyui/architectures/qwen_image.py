"""Tiny models of the Qwen-Image adapter."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor

from concept_attention.hosts.comfyui.adapters.block_call import ModuleCall
from concept_attention.hosts.comfyui.adapters.qwen_image import QwenImage

from .tiny_architecture import Arguments, TinyArchitecture, at_position

_SIZES = {
    "image_model": "qwen_image",
    "in_channels": 64,
    "num_layers": 3,
    "num_attention_heads": 2,
    "attention_head_dim": 32,
    "joint_attention_dim": 48,
    "axes_dims_rope": (8, 12, 12),
}
_LAYERED = {"use_additional_t_cond": True, "default_ref_method": "negative_index"}
_MAGE_SIZES = {
    "image_model": "mage_flow",
    "in_channels": 128,
    "num_layers": 3,
    "num_attention_heads": 2,
    "attention_head_dim": 32,
    "joint_attention_dim": 48,
    "axes_dims_rope": (8, 12, 12),
}


def _project(network: Any, embeddings: Tensor, calls: Mapping[str, ModuleCall]) -> Tensor:
    return network.txt_in(network.txt_norm(embeddings))


def _swap(arguments: Arguments, concept: Tensor) -> Arguments:
    text = arguments["encoder_hidden_states"].shape[1]
    pe = at_position(arguments["image_rotary_emb"], 2, text, concept.shape[1])
    return {
        **arguments,
        "encoder_hidden_states": concept,
        "encoder_hidden_states_mask": None,
        "image_rotary_emb": pe,
    }


def _variant(
    name: str, architecture: str, kind: str, config: Any, latent: Any, grid: tuple[int, int, int]
) -> TinyArchitecture:
    return TinyArchitecture(
        name=name,
        adapter=QwenImage(),
        architecture=architecture,
        kind=kind,
        config=config,
        latent=latent,
        grid=grid,
        text_width=48,
        project=_project,
        swap=_swap,
        text_in=lambda arguments: arguments["encoder_hidden_states"],
        text_out=lambda output: output[0],
    )


IMAGE = _variant("Qwen-Image, Edit", "qwen_image", "QwenImage", _SIZES, (1, 16, 1, 12, 8), (1, 6, 4))
LAYERED = _variant(
    "Qwen-Image Layered", "qwen_image", "QwenImage", {**_SIZES, **_LAYERED}, (1, 16, 3, 8, 12), (3, 4, 6)
)
MAGE = _variant("Mage-Flow", "mage_flow", "MageFlow", _MAGE_SIZES, (1, 128, 6, 4), (1, 6, 4))
VARIANTS = (IMAGE, LAYERED, MAGE)
