"""Tiny models of the CogVideoX adapter."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor

from concept_attention.hosts.comfyui.adapters.block_call import ModuleCall
from concept_attention.hosts.comfyui.adapters.cogvideox import CogVideoX

from .tiny_architecture import TinyArchitecture

_SIZES = {
    "image_model": "cogvideox",
    "num_attention_heads": 3,  # learned positions need a width that is a multiple of 12
    "attention_head_dim": 64,
    "time_embed_dim": 32,
    "num_layers": 3,
    "in_channels": 16,
    "patch_size": 2,
    "text_embed_dim": 48,
    "use_learned_positional_embeddings": False,
    "use_rotary_positional_embeddings": True,
}
_LEARNED = {"use_learned_positional_embeddings": True, "use_rotary_positional_embeddings": False}


def _project(network: Any, embeddings: Tensor, calls: Mapping[str, ModuleCall]) -> Tensor:
    return network.patch_embed.text_proj(embeddings.float())


def _variant(name: str, kind: str, grid: tuple[int, int, int], **config: Any) -> TinyArchitecture:
    return TinyArchitecture(
        name=name,
        adapter=CogVideoX(),
        architecture="cogvideox",
        kind=kind,
        config={**_SIZES, **config},
        latent=(1, 16, 3, 12, 8),
        grid=grid,
        text_width=48,
        padded=226,
        project=_project,
        swap=lambda arguments, concept: {**arguments, "encoder_hidden_states": concept},
        text_in=lambda arguments: arguments["encoder_hidden_states"],
        text_out=lambda output: output[1],
    )


VARIANTS = (
    _variant("CogVideoX 5B", "CogVideoX_T2V", (3, 6, 4)),
    _variant("CogVideoX 2B", "CogVideoX_T2V", (3, 6, 4), **_LEARNED, sample_width=8, sample_height=12, sample_frames=9),
    _variant("CogVideoX 1.5 5B", "CogVideoX_T2V", (2, 6, 4), patch_size_t=2),
    _variant("CogVideoX 5B I2V", "CogVideoX_I2V", (3, 6, 4), in_channels=32),
)
