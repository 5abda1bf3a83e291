"""CogVideoX in diffusers: 2B, 5B and 1.5.

Phases follow `CogVideoXBlock.forward` of diffusers/models/transformers/cogvideox_transformer_3d.py and
`CogVideoXAttnProcessor2_0.__call__` (0.42), so they can be diffed. Text and image tokens share the weights of a block;
only their modulation differs.

Convention: text tokens come first, then the video's, frame by frame, row-major over 2x2 latent patches; in 1.5 a token
covers two latent frames. Text tokens have no position.
Source: arXiv:2502.04320, Sec. 4; the layers are those of the authors' example, of whose 226 tokens those beside the
concepts are zero embeddings (`scores.MODES`).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, NamedTuple

from diffusers import CogVideoXTransformer3DModel
from diffusers.models.attention_processor import FusedCogVideoXAttnProcessor2_0
from diffusers.models.transformers.cogvideox_transformer_3d import CogVideoXBlock
from torch import Tensor

from ...architecture import AUTHORS_COGVIDEOX_LAYERS, AUTHORS_COGVIDEOX_TOKENS, Architecture, first_layers
from ..watch import BlockCall
from .adapter import Heads
from .rotary import rotate
from .text_path import BlockArguments, Part, TextPathAdapter, split_heads


class CogVideoXModulation(NamedTuple):
    """What the rest of a block needs."""

    temb: Tensor  # time embedding, (B, E)
    gate: Tensor  # of the attention, (B, 1, D)


class CogVideoX(TextPathAdapter):
    """The adapter of CogVideoX."""

    name = "cogvideox"
    transformer_class = CogVideoXTransformer3DModel
    block_class = CogVideoXBlock
    fused_processor = FusedCogVideoXAttnProcessor2_0
    text_width_key = "text_embed_dim"
    text_output = 1
    joined_output = True

    def describe(self, transformer: Any) -> Architecture:
        config = transformer.config
        return replace(
            super().describe(transformer),
            patch=config.patch_size,
            frame_patch=config.patch_size_t or 1,
            frames_per_latent=config.temporal_compression_ratio,
            padded_tokens=AUTHORS_COGVIDEOX_TOKENS,
        )

    def default_layers(self, layer_count: int) -> tuple[int, ...]:
        return first_layers(layer_count, AUTHORS_COGVIDEOX_LAYERS)

    def target_grid(self, transformer: Any, arguments: Mapping[str, Any]) -> tuple[int, int, int]:
        _, frames, _, height, width = arguments["hidden_states"].shape
        patch, frame_patch = transformer.config.patch_size, transformer.config.patch_size_t or 1
        return frames // frame_patch, height // patch, width // patch

    def attention_module(self, block: Any) -> Any:
        return block.attn1

    def image_heads(self, block: Any, passed: Tensor, part: Part, block_arguments: BlockArguments) -> Tensor:
        """As in the base class; what passes has text and image. The block will rotate queries and keys in place."""
        return super().image_heads(block, passed, part, block_arguments)[:, :, self.image_slice(block_arguments)]

    def rotate_image(self, heads: Tensor, block_arguments: BlockArguments) -> Tensor:
        rotation = block_arguments.get("image_rotary_emb")
        return heads if rotation is None else rotate(heads.transpose(1, 2), *rotation).transpose(1, 2)

    def project_concepts(self, transformer: Any, embeddings: Tensor, call: BlockCall | None = None) -> Tensor:
        return transformer.patch_embed.text_proj(embeddings)

    def modulate_concepts(
        self, block: Any, concept: Tensor, vec: None, block_arguments: BlockArguments
    ) -> tuple[Tensor, CogVideoXModulation]:
        temb = block_arguments["temb"][-len(concept) :]
        concept_norm, gate = _modulate(block.norm1, concept, temb)
        return concept_norm, CogVideoXModulation(temb, gate)

    def concept_heads(self, block: Any, concept_norm: Tensor) -> Heads:
        attn = block.attn1
        if self.is_fused(block):
            parts = attn.to_qkv(concept_norm).chunk(3, dim=-1)
        else:
            parts = attn.to_q(concept_norm), attn.to_k(concept_norm), attn.to_v(concept_norm)
        heads = Heads(*(split_heads(attn, part).transpose(1, 2) for part in parts))
        if self.normalises_keys(block):
            return Heads(attn.norm_q(heads.q), attn.norm_k(heads.k), heads.v)
        return heads

    def update_concepts(
        self, block: Any, concept: Tensor, concept_out: Tensor, modulation: CogVideoXModulation
    ) -> Tensor:
        concept = concept + modulation.gate * block.attn1.to_out[0](concept_out)
        concept_norm, gate = _modulate(block.norm2, concept, modulation.temb)
        return concept + gate * block.ff(concept_norm)


def _modulate(norm: Any, concept: Tensor, temb: Tensor) -> tuple[Tensor, Tensor]:
    """Concepts normalised and modulated as text, and their gate; the module also takes image tokens: none here."""
    _, modulated, _, gate = norm(concept[:, :0], concept, temb)
    return modulated, gate
