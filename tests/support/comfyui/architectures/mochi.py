"""Tiny models of the Mochi adapter."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from concept_attention.hosts.comfyui.adapters.block_call import ModuleCall
from concept_attention.hosts.comfyui.adapters.mochi import Mochi

from .tiny_architecture import Arguments, TinyArchitecture

_PADDING = 2  # of the prompt's last tokens


def _project(network: Any, embeddings: Tensor, calls: Mapping[str, ModuleCall]) -> Tensor:
    return network.t5_yproj(embeddings)


def _mask(tokens: int, generator: torch.Generator) -> Tensor:
    return (torch.arange(tokens) < tokens - _PADDING).long()[None]


def _swap(arguments: Arguments, concept: Tensor) -> Arguments:
    return {**arguments, "y": concept, "crop_y": concept.shape[1]}


def _text(arguments: Arguments) -> Tensor:
    """What is no padding: nothing else takes part in the attention."""
    return arguments["y"][:, : arguments["crop_y"]]


VARIANTS = (
    TinyArchitecture(
        name="Mochi 1",
        adapter=Mochi(),
        architecture="mochi",
        kind="GenmoMochi",
        config={
            "image_model": "mochi_preview",
            "depth": 3,
            "patch_size": 2,
            "num_heads": 2,
            "hidden_size_x": 128,
            "hidden_size_y": 64,
            "mlp_ratio_x": 96.0,  # the host insists on the full model's width there
            "mlp_ratio_y": 4.0,
            "learn_sigma": False,
            "in_channels": 12,
            "qk_norm": True,
            "qkv_bias": False,
            "out_bias": True,
            "attn_drop": 0.0,
            "patch_embed_bias": True,
            "posenc_preserve_area": True,
            "timestep_mlp_bias": True,
            "attend_to_padding": False,
            "timestep_scale": 1000.0,
            "use_t5": True,
            "t5_feat_dim": 64,
            "t5_token_length": 256,
            "rope_theta": 10000.0,
        },
        latent=(1, 12, 3, 12, 8),
        grid=(3, 6, 4),
        text_width=64,
        extra={"attention_mask": _mask},
        project=_project,
        swap=_swap,
        text_in=_text,
        text_out=lambda output: output[1],
        image_first=True,
    ),
)
