"""What is special about CogVideoX's blocks: its own processor rotates queries and keys in place, others may not."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor

from concept_attention.hosts.diffusers.stream import ConceptStream
from concept_attention.hosts.diffusers.transformers.cogvideox import CogVideoX

from ....support.diffusers.families import FAMILIES
from ....support.diffusers.tiny_transformers import TEXT_WIDTH
from ....support.numbers import relative_error


class OutOfPlace:
    """CogVideoX's attention with the softmax written out; nothing that a module gave is changed."""

    def __call__(
        self,
        attn: Any,
        hidden_states: Tensor,
        encoder_hidden_states: Tensor,
        attention_mask: None = None,
        image_rotary_emb: Any = None,
    ) -> Any:
        from diffusers.models.embeddings import apply_rotary_emb

        text = encoder_hidden_states.shape[1]
        tokens = torch.cat([encoder_hidden_states, hidden_states], dim=1)
        q, k, v = (
            part(tokens).unflatten(-1, (attn.heads, -1)).transpose(1, 2) for part in (attn.to_q, attn.to_k, attn.to_v)
        )
        q, k = attn.norm_q(q), attn.norm_k(k)
        q, k = (torch.cat([x[:, :, :text], apply_rotary_emb(x[:, :, text:], image_rotary_emb)], dim=2) for x in (q, k))
        shares = torch.softmax(q @ k.mT * k.shape[-1] ** -0.5, dim=-1)
        out = attn.to_out[0]((shares @ v).transpose(1, 2).flatten(2))
        return out[:, text:], out[:, :text]


def test_keys_are_rotated_once_whatever_the_processor_does() -> None:
    family = FAMILIES["CogVideoX 5B"]
    transformer = family.make()
    inputs = family.inputs(transformer, 2, 2, 4)
    embeddings = torch.randn(3, TEXT_WIDTH, generator=torch.Generator().manual_seed(2))

    def concepts() -> list[Tensor]:
        seen: list[Tensor] = []
        with ConceptStream(transformer, embeddings, lambda layer, image, out: seen.append(out), 2), torch.no_grad():
            transformer(**inputs)
        return seen

    usual = concepts()
    for block in transformer.transformer_blocks:
        block.attn1.set_processor(OutOfPlace())
    for layer, (other, expected) in enumerate(zip(concepts(), usual, strict=True)):
        assert relative_error(other, expected) < 1e-5, layer


@pytest.mark.parametrize("blocks, layers", [(42, 30), (30, 21)])
def test_default_layers_of_full_size_models_are_the_authors(blocks: int, layers: int) -> None:
    config = SimpleNamespace(
        num_attention_heads=48,
        attention_head_dim=64,
        text_embed_dim=4096,
        patch_size=2,
        patch_size_t=None,
        temporal_compression_ratio=4,
    )
    found = CogVideoX().describe(SimpleNamespace(config=config, transformer_blocks=[None] * blocks))
    assert found.default_layers == tuple(range(layers))
    assert (found.frame_patch, found.frames_per_latent) == (1, 4)
