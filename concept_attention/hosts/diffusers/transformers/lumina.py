"""Lumina Image 2.0 and Z-Image in diffusers, which have one stream: text and image tokens share all weights.

Arguments are those of `Lumina2TransformerBlock.forward` and `ZImageTransformerBlock.forward` of
diffusers/models/transformers/transformer_lumina2.py and transformer_z_image.py (0.42).

Convention: in Lumina 2 captions come first, each as long as it is, then the image; in Z-Image the image comes first,
padded at its end, then the padded captions. In Z-Image Omni captions come first, in parts between which the images are
thought, then the images, what is made as the last, then what a vision model saw of them. Concepts attend to the images'
padding, as text tokens do.
Source: arXiv:2502.04320, Sec. 4.1, carried over to one stream; the authors have no such model.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import torch
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
    """The adapter of Z-Image and its Omni variant, which has reference images and tokens of two noise levels."""

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
        target = arguments["x"][0]
        _, frames, height, width = (target[-1] if isinstance(target, list) else target).shape
        patch, frame_patch = arguments.get("patch_size", 2), arguments.get("f_patch_size", 1)
        return frames // frame_patch, height // patch, width // patch

    def image_tokens(self, call: BlockCall, keys: int) -> Tokens:
        if not _omni(call):
            return slice(0, self._image_length(call))
        rows = []
        for number in range(call.batch):
            texts, *images = (sum(part) for part in self._parts(call, number))
            target = self._parts(call, number)[1][-1]
            first, end = texts + images[0] - target, texts + sum(images)
            rows.append(
                torch.tensor([*range(first, first + target), *range(texts, first), *range(first + target, end)])
            )
        if len({len(row) for row in rows}) > 1:
            raise NotRecordable("the images of the batch have reference images of other sizes: make them one by one")
        return rows

    def project_concepts(self, transformer: Any, embeddings: Tensor, call: BlockCall) -> Tensor:
        """Each refined alone, as a caption of one token."""
        concept, turns = transformer.cap_embedder(embeddings).flatten(0, 1)[:, None], self._turns(call)
        turns = turns.repeat_interleave(embeddings.shape[1], dim=0)
        for layer in transformer.context_refiner:
            concept = layer(concept, None, turns)
        return concept.view(*embeddings.shape[:2], -1)

    def concept_arguments(self, concept: Tensor, call: BlockCall) -> dict[str, Any]:
        given = call.arguments
        own: dict[str, Any] = {}
        if _omni(call):  # the prompt is as noisy as what is made
            noisy = torch.ones(concept.shape[:2], dtype=torch.long, device=concept.device)
            own = {"noise_mask": noisy, **{name: call.select(given[name]) for name in ("adaln_noisy", "adaln_clean")}}
        return {
            "x": concept,
            "attn_mask": None,
            "freqs_cis": self._turns(call).expand(-1, concept.shape[1], -1),
            "adaln_input": call.select(given["adaln_input"]),
            **own,
        }

    def _image_length(self, call: BlockCall) -> int:
        frames, rows, columns = self.target_grid(call.transformer, call.evaluation)
        return _padded(frames * rows * columns)

    def _parts(self, call: BlockCall, row: int) -> tuple[list[int], list[int], list[int]]:
        """Of a row of Omni, the padded lengths of its captions, its images, and what a vision model saw of them."""
        given = call.evaluation
        patch, frame_patch = given.get("patch_size", 2), given.get("f_patch_size", 1)
        seen = (given.get("siglip_feats") or [None] * call.batch)[row] or []
        token = frame_patch * patch * patch
        images = (SEQ_MULTI_OF if one is None else one[0].numel() // token for one in given["x"][row])
        views = (SEQ_MULTI_OF if one is None else one.shape[0] * one.shape[1] for one in seen)
        return [_padded(len(one)) for one in given["cap_feats"][row]], [*map(_padded, images)], [*map(_padded, views)]

    def _turns(self, call: BlockCall) -> Tensor:
        """Rotation of the concepts' position in each row, (B, 1, head_dim / 2)."""
        turns = call.select(call.arguments["freqs_cis"])
        if not _omni(call):
            return turns[:, self._image_length(call) + self.concept_position, None]
        places = []
        for number in range(call.batch)[call.rows]:
            captions, images, _ = self._parts(call, number)
            before = captions[: len(images) - 1]  # the prompt is in the caption before what is made
            places.append(sum(before) + (1 if before else self.concept_position))
        return turns[torch.arange(len(turns)), torch.tensor(places), None]


def _omni(call: BlockCall) -> bool:
    return isinstance(call.evaluation["x"][0], list)


def _padded(tokens: int) -> int:
    return -(-tokens // SEQ_MULTI_OF) * SEQ_MULTI_OF
