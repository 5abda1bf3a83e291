"""Flux 1 in ComfyUI: dev, schnell, Krea, Kontext, Fill, Canny, Depth, Redux and their fine-tunes.

Phases follow `DoubleStreamBlock.forward` of comfy/ldm/flux/layers.py (0.19 to 0.33), so the two can be diffed.

Convention: text tokens come first, then the picture's tokens, row-major over 2x2 latent cells, then those of
reference latents (Kontext).
Source: arXiv:2502.04320, Sec. 4; the position ids and the modulation of concepts are the authors' (all ids zero,
a zero pooled vector).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from comfy.ldm.flux.model import Flux
from torch import Tensor, nn

from ... import attention
from ..architecture import AUTHORS_FLUX_LAYERS, Architecture, TokenSlices, last_layers
from .network import network
from .visits import Call, Rows, Visit

SUPPORTED = ("Flux 1",)


def matches(model: Any) -> bool:
    """Flux 2, LongCat and others share the class; Flux 1 alone has a pooled vector and a modulation per block."""
    flux = network(model)
    return isinstance(flux, Flux) and flux.vector_in is not None and not flux.params.global_modulation


def describe(model: Any) -> Architecture:
    flux = network(model)
    count = len(flux.double_blocks)
    return Architecture(
        name="flux",
        joint_blocks=count,
        heads=flux.num_heads,
        head_dim=flux.hidden_size // flux.num_heads,
        text_width=flux.params.context_in_dim,
        patch=flux.patch_size,
        default_layers=last_layers(count, AUTHORS_FLUX_LAYERS),
    )


def joint_blocks(flux: Any) -> nn.ModuleList:
    return flux.double_blocks


def token_slices(visit: Visit, keys: int, tokens: int) -> TokenSlices:
    """Where the streams lie among `keys` keys, of which the picture has `tokens`."""
    start = keys - visit.arguments["img"].shape[1]
    return TokenSlices(text=slice(0, start), image=slice(start, keys), picture=slice(start, start + tokens))


def conditioning_modules(flux: Any) -> Mapping[str, nn.Module]:
    """The parts of the modulation vector, as the model itself calls them in every forward pass."""
    return {"time": flux.time_in, "guidance": flux.guidance_in, "pooled": flux.vector_in}


def concept_modulation(flux: Any, calls: Mapping[str, Call], rows: Rows) -> Tensor:
    """The concepts' modulation vector, (B, D): timestep and guidance of this evaluation, a zero pooled vector."""
    vec = calls["time"].output
    if "guidance" in calls:
        vec = vec + calls["guidance"].output
    vec = vec + flux.vector_in(torch.zeros_like(calls["pooled"].arguments[0]))
    return vec[rows]


def project_concepts(flux: Any, embeddings: Tensor, calls: Mapping[str, Call], rows: Rows) -> Tensor:
    """Text encoder embeddings (1, C, E) to block-0 concept tokens, (1, C, D) if they are the same in every row."""
    return flux.txt_in(embeddings)


def attend_concepts(
    block: Any,
    concept: Tensor,
    vec: Tensor,
    image_k: Tensor,
    image_v: Tensor,
    visit: Visit,
    key_bias: Tensor | None = None,
) -> tuple[Tensor, Any]:
    """One joint block's attention for the concept tokens.

    Args:
        block: a DoubleStreamBlock.
        concept: concept tokens, (B, C, D).
        vec: their modulation vector, (B, D).
        image_k, image_v: keys, normalised and rotated, and values of the image tokens, (B, heads, N, head_dim).
        visit: this call of the block.
        key_bias: added to the concept keys' logits, (C,).

    Returns:
        The attention output before the projection, (B, C, heads * head_dim), and the rest of the modulation.
    """
    concept_mod1, concept_mod2 = block.txt_mod(vec)

    concept_modulated = block.txt_norm1(concept)
    concept_modulated = torch.addcmul(concept_mod1.shift, concept_modulated, 1 + concept_mod1.scale)
    concept_qkv = block.txt_attn.qkv(concept_modulated)
    concept_q, concept_k, concept_v = concept_qkv.unflatten(-1, (3, block.num_heads, -1)).permute(2, 0, 3, 1, 4)
    concept_q, concept_k = block.txt_attn.norm(concept_q, concept_k, concept_v)

    # Concepts have position ids (0, 0, 0), whose rotation is the identity.
    concept_out = attention.attend_concepts(concept_q, concept_k, concept_v, image_k, image_v, key_bias=key_bias)
    return concept_out, (concept_mod1, concept_mod2)


def update_concepts(block: Any, concept: Tensor, concept_out: Tensor, modulation: Any) -> Tensor:
    """The rest of the block's text path: projection, gate and MLP. (B, C, D) to (B, C, D)."""
    concept_mod1, concept_mod2 = modulation
    concept = concept + block.txt_attn.proj(concept_out) * concept_mod1.gate
    concept_modulated = torch.addcmul(concept_mod2.shift, block.txt_norm2(concept), 1 + concept_mod2.scale)
    concept = concept + block.txt_mlp(concept_modulated) * concept_mod2.gate
    if concept.dtype == torch.float16:
        concept = torch.nan_to_num(concept, nan=0.0, posinf=65504, neginf=-65504)
    return concept
