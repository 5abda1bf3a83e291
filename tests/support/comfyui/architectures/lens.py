"""Tiny models of the Lens adapter."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from concept_attention.hosts.comfyui.adapters.block_call import ModuleCall
from concept_attention.hosts.comfyui.adapters.lens import Lens

from .tiny_architecture import Arguments, TinyArchitecture


def _project(network: Any, embeddings: Tensor, calls: Mapping[str, ModuleCall]) -> Tensor:
    """Two layers of the text encoder side by side."""
    one, other = network.txt_norm
    return network.txt_in(torch.cat([one(embeddings[..., :24]), other(embeddings[..., 24:])], dim=-1))


def _swap(arguments: Arguments, concept: Tensor) -> Arguments:
    tokens = arguments["hidden_states"].shape[1]
    places = [*range(tokens), *[tokens] * concept.shape[1]]
    return {
        **arguments,
        "encoder_hidden_states": concept,
        "freqs_cis": arguments["freqs_cis"][:, :, places],
        "attention_mask": None,
    }


LENS = TinyArchitecture(
    name="Lens",
    adapter=Lens(),
    architecture="lens",
    kind="Lens",
    config={
        "image_model": "lens",
        "in_channels": 128,
        "out_channels": 32,
        "num_layers": 3,
        "num_attention_heads": 2,
        "enc_hidden_dim": 24,
        "multi_layer_encoder_feature": True,
        "selected_layer_index": (0, 1),
    },
    latent=(1, 128, 6, 4),
    grid=(1, 6, 4),
    text_width=48,
    project=_project,
    swap=_swap,
    text_in=lambda arguments: arguments["encoder_hidden_states"],
    text_out=lambda output: output[0],
    image_first=True,
)
VARIANTS = (LENS,)
