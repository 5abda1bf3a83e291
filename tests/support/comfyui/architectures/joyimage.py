"""Tiny models of the JoyImage adapter."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor

from concept_attention.hosts.comfyui.adapters.block_call import ModuleCall
from concept_attention.hosts.comfyui.adapters.joyimage import JoyImage

from .tiny_architecture import Arguments, TinyArchitecture


def _project(network: Any, embeddings: Tensor, calls: Mapping[str, ModuleCall]) -> Tensor:
    return network.condition_embedder.text_embedder(embeddings)


def _swap(arguments: Arguments, concept: Tensor) -> Arguments:
    return {**arguments, "encoder_hidden_states": concept}


JOY = TinyArchitecture(
    name="JoyImage, Edit",
    adapter=JoyImage(),
    architecture="joyimage",
    kind="JoyImage",
    config={
        "image_model": "joyimage",
        "in_channels": 16,
        "hidden_size": 256,
        "patch_size": [1, 2, 2],
        "num_layers": 3,
        "num_attention_heads": 2,
        "text_dim": 48,
    },
    latent=(1, 16, 1, 12, 8),
    grid=(1, 6, 4),
    text_width=48,
    project=_project,
    swap=_swap,
    text_in=lambda arguments: arguments["encoder_hidden_states"],
    text_out=lambda output: output[1],
    image_first=True,
)
VARIANTS = (JOY,)
