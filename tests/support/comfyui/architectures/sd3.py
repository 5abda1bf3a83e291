"""Tiny models of the SD3 adapter."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from concept_attention.hosts.comfyui.adapters.sd3 import SD3

from .tiny_architecture import Arguments, TinyArchitecture

_BLOCKS = 3  # and as many heads of width 64: sizes of this family follow from each other


def _swap(arguments: Arguments, concept: Tensor) -> Arguments:
    _, x = arguments.pop("args")
    return {**arguments, "context": concept, "x": x}


def _variant(name: str, **config: Any) -> TinyArchitecture:
    return TinyArchitecture(
        name=name,
        adapter=SD3(),
        architecture="sd3",
        kind="SD3",
        config={
            "in_channels": 16,
            "out_channels": 16,
            "patch_size": 2,
            "depth": _BLOCKS,
            "adm_in_channels": 64,
            "context_embedder_config": {
                "target": "torch.nn.Linear",
                "params": {"in_features": 48, "out_features": 64 * _BLOCKS},
            },
            "num_patches": 256,
            "pos_embed_max_size": 16,
            **config,
        },
        latent=(1, 16, 12, 8),
        grid=(1, 6, 4),
        text_width=48,
        extra={"pooled_output": lambda _, generator: torch.randn(1, 64, generator=generator)},
        project=lambda network, embeddings, calls: network.context_embedder(embeddings),
        swap=_swap,
        text_in=lambda arguments: arguments["args"][0],
        text_out=lambda output: output[0],
    )


VARIANTS = (
    _variant("Stable Diffusion 3 medium"),
    _variant("Stable Diffusion 3.5 large, large turbo", qk_norm="rms"),
    _variant("Stable Diffusion 3.5 medium", qk_norm="rms", x_block_self_attn_layers=[0, 1]),
)
