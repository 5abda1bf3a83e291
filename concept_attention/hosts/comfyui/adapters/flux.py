"""Flux 1 in ComfyUI: dev, schnell, Krea, Kontext, Fill, Canny, Depth, Redux and their fine-tunes; LongCat-Image and
Ovis-Image, which are the same network without a pooled text vector.

Read `double_stream.py` first. Modulation follows `Flux.forward_orig` of comfy/ldm/flux/model.py (0.19 to 0.33).

Source: arXiv:2502.04320, Sec. 4; the position ids and the modulation of concepts are the authors' (all ids zero,
a zero pooled vector).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from comfy.ldm.flux.model import Flux
from torch import Tensor, nn

from ...architecture import Architecture
from . import double_stream
from .block_call import ModuleCall, Rows
from .network import network

SUPPORTED = ("Flux 1", "LongCat-Image", "Ovis-Image")

OVIS_POSITION = 1  # of the word in a prompt of one: what is left of the chat template begins with a colon


def matches(model: Any) -> bool:
    """Flux 2 shares the class, but not the modulation that every block has of its own."""
    flux = network(model)
    return isinstance(flux, Flux) and not flux.params.global_modulation


def describe(model: Any) -> Architecture:
    flux = network(model)
    position = 0 if flux.txt_norm is None else OVIS_POSITION
    return double_stream.describe(flux, "flux", concept_position=position, pooled_text=False)


joint_blocks = double_stream.joint_blocks
token_slices = double_stream.token_slices


def conditioning_modules(flux: Any) -> Mapping[str, nn.Module]:
    """The parts of the modulation vector, as the model itself calls them in every forward pass."""
    parts = {"time": flux.time_in, "guidance": flux.guidance_in, "pooled": flux.vector_in}
    return {name: module for name, module in parts.items() if module is not None}


def concept_modulation(flux: Any, calls: Mapping[str, ModuleCall], rows: Rows) -> Tensor:
    """The concepts' modulation vector, (B, D): timestep and guidance of this evaluation, a zero pooled vector."""
    vec = calls["time"].output
    if "guidance" in calls:
        vec = vec + calls["guidance"].output
    if "pooled" in calls:
        vec = vec + flux.vector_in(torch.zeros_like(calls["pooled"].arguments[0]))
    return vec[rows]


def project_concepts(flux: Any, embeddings: Tensor, calls: Mapping[str, ModuleCall], rows: Rows) -> Tensor:
    """Text encoder embeddings (1, C, E) to block-0 concept tokens, (1, C, D), the same in every row."""
    if flux.txt_norm is not None:
        embeddings = flux.txt_norm(embeddings)
    return flux.txt_in(embeddings)


attend_concepts = double_stream.attend_concepts
update_concepts = double_stream.update_concepts
