"""Tiny models of the Boogu adapter."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from concept_attention.hosts.comfyui.adapters.block_call import ModuleCall
from concept_attention.hosts.comfyui.adapters.boogu import Boogu

from .tiny_architecture import Arguments, TinyArchitecture, at_position


def _project(network: Any, embeddings: Tensor, calls: Mapping[str, ModuleCall]) -> Tensor:
    """Each concept refined as a prompt of its own, at the first position."""
    position = network.rope_embedder.rope_embedder(torch.zeros(1, 1, 3)).movedim(1, 2)
    refined = []
    for index in range(embeddings.shape[1]):
        token = network.time_caption_embed.caption_embedder(embeddings[:, index : index + 1])
        for layer in network.context_refiner:
            token = layer(token, None, position)
        refined.append(token)
    return torch.cat(refined, dim=1)


def _swap(arguments: Arguments, concept: Tensor) -> Arguments:
    text = arguments["instruct_hidden_states"].shape[1]
    position = min(29, text - 1)  # the template's length, or the last token of the short prompts here
    pe = at_position(arguments["joint_rotary_emb"], 1, text, concept.shape[1], position)
    return {**arguments, "instruct_hidden_states": concept, "joint_rotary_emb": pe}


BOOGU = TinyArchitecture(
    name="Boogu",
    adapter=Boogu(),
    architecture="boogu",
    kind="Boogu",
    config={
        "image_model": "boogu",
        "hidden_size": 96,
        "num_layers": 1,
        "num_double_stream_layers": 3,
        "num_refiner_layers": 2,
        "instruction_feat_dim": 48,
        "num_attention_heads": 4,
        "num_kv_heads": 2,
        "axes_dim_rope": (8, 8, 8),
    },
    latent=(1, 16, 12, 8),
    grid=(1, 6, 4),
    text_width=48,
    extra={"attention_mask": lambda tokens, _: torch.ones(1, tokens, dtype=torch.long)},
    project=_project,
    swap=_swap,
    text_in=lambda arguments: arguments["instruct_hidden_states"],
    text_out=lambda output: output[1],
    target_last=True,
)
VARIANTS = (BOOGU,)
