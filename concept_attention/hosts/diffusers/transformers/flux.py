"""Flux 1 (schnell, dev and their fine-tunes) in diffusers.

Phases follow `FluxTransformerBlock.forward` and `FluxAttnProcessor.__call__` of
diffusers/models/transformers/transformer_flux.py (0.42), so the two can be diffed.

Convention: text tokens come first, then image tokens, row-major over 2x2 latent patches.
Source: arXiv:2502.04320, Sec. 4; the position ids and the modulation of concepts are the authors' (all ids zero,
a zero pooled vector).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import torch
from diffusers import FluxTransformer2DModel
from diffusers.models.transformers.transformer_flux import FluxTransformerBlock
from einops import rearrange
from torch import Tensor, nn

from ...architecture import AUTHORS_FLUX_LAYERS, Architecture, last_layers
from .adapter import Heads
from .rotary import rotate
from .text_path import BlockArguments, Modulation, Part, TextPathAdapter, project_text


class Flux(TextPathAdapter):
    """The adapter of Flux 1."""

    name = "flux"
    transformer_class = FluxTransformer2DModel
    block_class = FluxTransformerBlock

    def describe(self, transformer: Any) -> Architecture:
        return replace(super().describe(transformer), pooled_text=False)

    def default_layers(self, layer_count: int) -> tuple[int, ...]:
        return last_layers(layer_count, AUTHORS_FLUX_LAYERS)

    def target_grid(self, transformer: Any, arguments: Mapping[str, Any]) -> tuple[int, int, int]:
        """From the position ids: those of reference images, which come after the target's, differ in the first."""
        ids = arguments["img_ids"]
        ids = ids[0] if ids.ndim == 3 else ids
        target = ids[ids[:, 0] == ids[0, 0]]
        columns = int((target[:, 1] == target[0, 1]).sum())
        return 1, len(target) // columns, columns

    def is_fused(self, block: Any) -> bool:
        return block.attn.fused_projections

    def image_heads(self, block: Any, passed: Tensor, part: Part, block_arguments: BlockArguments) -> Tensor:
        """As in the base class; the norms have (B, N, heads, head_dim)."""
        heads = super().image_heads(block, passed, part, block_arguments)
        return heads if part == 2 else heads.transpose(1, 2)

    def rotate_image(self, heads: Tensor, block_arguments: BlockArguments) -> Tensor:
        image = self.image_slice(block_arguments)
        cos, sin = block_arguments["image_rotary_emb"]
        return rotate(heads.transpose(1, 2), cos[image], sin[image]).transpose(1, 2)

    def conditioning_module(self, transformer: Any) -> nn.Module:
        """The module that turns (timestep, [guidance], pooled) into the modulation vector."""
        return transformer.time_text_embed

    def concept_conditioning(self, transformer: Any, arguments: tuple[Any, ...]) -> Any:
        """The concepts' modulation vector, (B, D): timestep and guidance of this evaluation, a zero pooled vector."""
        *conditions, pooled = arguments
        # `forward`, not the module itself, whose hook is what called us.
        return transformer.time_text_embed.forward(*conditions, torch.zeros_like(pooled))

    def modulate_concepts(
        self, block: Any, concept: Tensor, vec: Tensor, block_arguments: BlockArguments
    ) -> tuple[Tensor, Modulation]:
        concept_norm, *modulation = block.norm1_context(concept, emb=vec[-len(concept) :])
        return concept_norm, Modulation(*(part.unsqueeze(1) for part in modulation))

    def concept_heads(self, block: Any, concept_norm: Tensor) -> Heads:
        attn = block.attn
        heads = project_text(attn, concept_norm, self.is_fused(block))
        return Heads(attn.norm_added_q(heads.q), attn.norm_added_k(heads.k), heads.v)

    def update_concepts(self, block: Any, concept: Tensor, concept_out: Tensor, modulation: Modulation) -> Tensor:
        concept = super().update_concepts(block, concept, concept_out, modulation)
        return concept.clip(-65504, 65504) if concept.dtype == torch.float16 else concept


def pack_latents(latents: Tensor) -> Tensor:
    """VAE latents (B, C, H, W) to image tokens (B, H/2 * W/2, C * 4), row-major."""
    return rearrange(latents, "b c (h p) (w q) -> b (h w) (c p q)", p=2, q=2)


def unpack_latents(tokens: Tensor, rows: int) -> Tensor:
    """The inverse of `pack_latents` for a grid of `rows` rows."""
    return rearrange(tokens, "b (h w) (c p q) -> b c (h p) (w q)", h=rows, p=2, q=2)


def position_ids(rows: int, columns: int, device: torch.device) -> Tensor:
    """Position ids (0, row, column) of the image tokens, (rows * columns, 3)."""
    ids = torch.zeros(rows, columns, 3, device=device)
    ids[..., 1] = torch.arange(rows, device=device)[:, None]
    ids[..., 2] = torch.arange(columns, device=device)
    return ids.reshape(-1, 3)
