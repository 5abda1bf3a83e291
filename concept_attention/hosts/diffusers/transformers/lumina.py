"""Lumina Image 2.0 and Z-Image in diffusers, which have one stream: text and image tokens share all weights.

Arguments are those of `Lumina2TransformerBlock.forward` and `ZImageTransformerBlock.forward` of
diffusers/models/transformers/transformer_lumina2.py and transformer_z_image.py (0.42).

Convention: in Lumina 2 captions come first, each as long as it is, then the image; in Z-Image the image comes first,
padded at its end, then the padded captions. Concepts attend to the image's padding, as text tokens do.
Source: arXiv:2502.04320, Sec. 4.1, carried over to one stream; the authors have no such model.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from diffusers import Lumina2Transformer2DModel, ZImageTransformer2DModel
from diffusers.models.transformers.transformer_lumina2 import Lumina2TransformerBlock
from diffusers.models.transformers.transformer_z_image import SEQ_MULTI_OF, ZImageTransformerBlock
from torch import Tensor

from ...architecture import Architecture
from ...reasons import NotRecordable
from ..named import Arguments
from ..watch import BlockCall
from .own_block import OneStreamAdapter, Tokens


class Lumina2(OneStreamAdapter):
    """The adapter of Lumina Image 2.0."""

    name = "lumina2"
    transformer_class = Lumina2Transformer2DModel
    block_class = Lumina2TransformerBlock
    blocks = "layers"
    concept_position = 1  # behind the start token

    def describe(self, transformer: Any) -> Architecture:
        described = replace(super().describe(transformer), concept_position=self.concept_position)
        return replace(described, patch=transformer.config.patch_size)

    def text_width(self, transformer: Any) -> int:
        return int(transformer.config.cap_feat_dim)

    def target_grid(self, transformer: Any, arguments: Arguments) -> tuple[int, int, int]:
        *_, height, width = arguments["hidden_states"].shape
        patch = transformer.config.patch_size
        return 1, height // patch, width // patch

    def image_tokens(self, call: BlockCall, keys: int) -> Tokens:
        _, rows, columns = self.target_grid(call.transformer, call.evaluation)
        starts = call.evaluation["encoder_attention_mask"].sum(dim=1).tolist()
        return [slice(int(start), int(start) + rows * columns) for start in starts]

    def project_concepts(self, transformer: Any, embeddings: Tensor, call: BlockCall) -> Tensor:
        """Each refined alone, as a caption of one token."""
        embedder = transformer.time_caption_embed.caption_embedder
        concept, turns = embedder(embeddings).flatten(0, 1)[:, None], self._turns(call)
        turns = turns.repeat_interleave(embeddings.shape[1], dim=0)
        for layer in transformer.context_refiner:
            concept = layer(concept, None, turns)
        return concept.view(*embeddings.shape[:2], -1)

    def concept_arguments(self, concept: Tensor, call: BlockCall) -> dict[str, Any]:
        return {
            "hidden_states": concept,
            "attention_mask": None,
            "image_rotary_emb": self._turns(call).expand(-1, concept.shape[1], -1),
            "temb": call.select(call.arguments["temb"]),
        }

    def _turns(self, call: BlockCall) -> Tensor:
        """Rotation of the concepts' position in each row, (B, 1, head_dim / 2)."""
        return call.select(call.arguments["image_rotary_emb"])[:, self.concept_position, None]


class ZImage(OneStreamAdapter):
    """The adapter of Z-Image; its Omni variant lays out reference images in another way and is not recorded."""

    name = "z_image"
    transformer_class = ZImageTransformer2DModel
    block_class = ZImageTransformerBlock
    blocks = "layers"
    text_argument = "x"
    chained = False  # a ControlNet adds to what a block returns
    concept_position = 3  # behind what the chat template puts before the words

    def describe(self, transformer: Any) -> Architecture:
        described = replace(super().describe(transformer), concept_position=self.concept_position)
        return replace(described, patch=transformer.all_patch_size[0])

    def text_width(self, transformer: Any) -> int:
        return int(transformer.config.cap_feat_dim)

    def batch_size(self, arguments: Arguments) -> int:
        return len(arguments["x"])

    def target_grid(self, transformer: Any, arguments: Arguments) -> tuple[int, int, int]:
        if isinstance(arguments["x"][0], list):
            raise NotRecordable("Z-Image Omni, with reference images among its tokens, is not supported on diffusers")
        _, frames, height, width = arguments["x"][0].shape
        patch, frame_patch = arguments.get("patch_size", 2), arguments.get("f_patch_size", 1)
        return frames // frame_patch, height // patch, width // patch

    def image_tokens(self, call: BlockCall, keys: int) -> Tokens:
        return slice(0, self._image_length(call))

    def project_concepts(self, transformer: Any, embeddings: Tensor, call: BlockCall) -> Tensor:
        """Each refined alone, as a caption of one token."""
        concept, turns = transformer.cap_embedder(embeddings).flatten(0, 1)[:, None], self._turns(call)
        turns = turns.repeat_interleave(embeddings.shape[1], dim=0)
        for layer in transformer.context_refiner:
            concept = layer(concept, None, turns)
        return concept.view(*embeddings.shape[:2], -1)

    def concept_arguments(self, concept: Tensor, call: BlockCall) -> dict[str, Any]:
        return {
            "x": concept,
            "attn_mask": None,
            "freqs_cis": self._turns(call).expand(-1, concept.shape[1], -1),
            "adaln_input": call.select(call.arguments["adaln_input"]),
        }

    def _image_length(self, call: BlockCall) -> int:
        frames, rows, columns = self.target_grid(call.transformer, call.evaluation)
        return -(-frames * rows * columns // SEQ_MULTI_OF) * SEQ_MULTI_OF

    def _turns(self, call: BlockCall) -> Tensor:
        """Rotation of the concepts' position in each row, (B, 1, head_dim / 2)."""
        turns = call.select(call.arguments["freqs_cis"])
        return turns[:, self._image_length(call) + self.concept_position, None]
