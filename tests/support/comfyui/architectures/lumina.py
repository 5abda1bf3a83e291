"""Tiny models of the Lumina adapter."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from concept_attention.hosts.comfyui.adapters.block_call import ModuleCall
from concept_attention.hosts.comfyui.adapters.lumina import Lumina

from .tiny_architecture import Arguments, TinyArchitecture, at_position

_TOKENS = 24  # a grid of 6 x 4
_PADDED = 32  # Z-Image pads captions and images to a multiple of that many tokens
_LUMINA = {
    "image_model": "lumina2",
    "patch_size": 2,
    "in_channels": 16,
    "dim": 128,
    "cap_feat_dim": 48,
    "n_layers": 3,
    "qk_norm": True,
    "n_heads": 4,
    "n_kv_heads": 2,
    "axes_dims": [8, 12, 12],
    "axes_lens": [300, 512, 512],
    "rope_theta": 10000.0,
    "ffn_dim_multiplier": 4.0,
}
Z_IMAGE = {
    **_LUMINA,
    "dim": 256,  # the modulation is at least that wide
    "n_kv_heads": 4,
    "axes_dims": [16, 24, 24],
    "rope_theta": 256.0,
    "ffn_dim_multiplier": 8.0 / 3.0,
    "z_image_modulation": True,
    "time_scale": 1000.0,
    "pad_tokens_multiple": 32,
}
_PIXELS = {
    "image_model": "zimage_pixel",
    "patch_size": 16,
    "in_channels": 3,
    "decoder_in_channels": 768,
    "decoder_hidden_size": 32,
    "decoder_num_res_blocks": 1,
}


def _project(network: Any, embeddings: Tensor, calls: Mapping[str, ModuleCall]) -> Tensor:
    """Every concept through the refiner by itself, where its position makes no difference."""
    rotation = network.rope_embedder(torch.ones(1, 1, 3)).movedim(1, 2)
    refined = []
    for embedding in embeddings.unbind(1):
        concept = network.cap_embedder(embedding[:, None])
        for layer in network.context_refiner:
            concept = layer(concept, None, rotation)
        refined.append(concept)
    return torch.cat(refined, dim=1)


def make_tiny(
    name: str, architecture: str, kind: str, position: int, text: int | None = None, earlier: int = 0, **changes: Any
) -> TinyArchitecture:
    """A tiny model.

    Args:
        name, architecture, kind, changes: see `TinyArchitecture`.
        position: of the concepts in the caption.
        text: tokens of all captions with their padding; None is what the image's tokens leave.
        earlier: tokens of the captions of reference images, which come before the generated image's.
    """

    def length(arguments: Arguments) -> int:
        return text or arguments["x"].shape[1] - _TOKENS

    def swap(arguments: Arguments, concept: Tensor) -> Arguments:
        x, before, count = arguments["x"], length(arguments), concept.shape[1]
        swapped = {
            **arguments,
            "x": torch.cat([concept, x[:, before:]], dim=1),
            "freqs_cis": at_position(arguments["freqs_cis"], 1, before, count, earlier + position),
        }
        if arguments.get("timestep_zero_index"):
            (start, stop), _ = arguments["timestep_zero_index"]
            swapped["timestep_zero_index"] = [(start - before + count, stop - before + count), (0, count)]
        return swapped

    return TinyArchitecture(
        **{
            "name": name,
            "adapter": Lumina(),
            "architecture": architecture,
            "kind": kind,
            "config": _LUMINA,
            "latent": (1, 16, 12, 8),
            "grid": (1, 6, 4),
            "text_width": 48,
            "project": _project,
            "swap": swap,
            "text_in": lambda arguments: arguments["x"][:, : length(arguments)],
            "text_out": lambda output: output,
            **changes,
        }
    )


VARIANTS = (
    make_tiny("Lumina Image 2.0", "lumina2", "Lumina2", position=1),
    make_tiny(
        "NewBie",
        "lumina2",
        "Lumina2",
        position=1,
        config={**_LUMINA, "clip_text_dim": 40},
        extra={"pooled_output": lambda _, generator: torch.randn(1, 40, generator=generator)},
    ),
    make_tiny("Z-Image, Z-Image Turbo", "z_image", "ZImage", position=3, text=_PADDED, config=Z_IMAGE),
    make_tiny(
        "Z-Image in pixel space",
        "z_image",
        "ZImagePixelSpace",
        position=3,
        text=_PADDED,
        config={**Z_IMAGE, **_PIXELS},
        latent=(1, 3, 96, 64),
    ),
)
