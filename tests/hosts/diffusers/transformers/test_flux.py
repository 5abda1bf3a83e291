"""The Flux adapter: sizes, packing, and the concept stream against a naive twin and other attention processors."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from concept_attention.errors import UserError
from concept_attention.hosts.diffusers.adapters import adapter_for
from concept_attention.hosts.diffusers.stream import ConceptStream
from concept_attention.hosts.diffusers.transformers.flux import Flux, pack_latents, position_ids, unpack_latents
from concept_attention.hosts.diffusers.transformers.text_path import Modulation

from ....support.diffusers.naive_flux import naive_flux
from ....support.diffusers.tiny_transformers import flux_inputs, make_flux
from ....support.numbers import relative_error

CLOSE = 1e-5


def run_stream(transformer: Any, inputs: dict[str, Any], embeddings: Tensor, **options: Any) -> Any:
    """One evaluation with concepts; per layer the attention outputs of image and concepts."""
    seen: list[tuple[Tensor, Tensor]] = []
    stream = ConceptStream(
        transformer,
        embeddings,
        lambda layer, image, concept: seen.append((image.clone(), concept.clone())),
        transformer.config.num_layers - 1,
        **options,
    )
    with stream, torch.no_grad():
        output = transformer(**inputs)[0]
    return SimpleNamespace(image=[i for i, _ in seen], concept=[c for _, c in seen], output=output)


class ExplicitProcessor:
    """Another attention processor: Flux's own, with the softmax written out."""

    def __call__(
        self,
        attn: Any,
        hidden_states: Tensor,
        encoder_hidden_states: Any = None,
        attention_mask: None = None,
        image_rotary_emb: Any = None,
    ) -> Any:
        from diffusers.models.embeddings import apply_rotary_emb

        def split(x: Tensor) -> Tensor:
            return x.unflatten(-1, (attn.heads, attn.head_dim))

        q, k = attn.norm_q(split(attn.to_q(hidden_states))), attn.norm_k(split(attn.to_k(hidden_states)))
        v = split(attn.to_v(hidden_states))
        if encoder_hidden_states is not None:
            q = torch.cat([attn.norm_added_q(split(attn.add_q_proj(encoder_hidden_states))), q], dim=1)
            k = torch.cat([attn.norm_added_k(split(attn.add_k_proj(encoder_hidden_states))), k], dim=1)
            v = torch.cat([split(attn.add_v_proj(encoder_hidden_states)), v], dim=1)
        q, k = (apply_rotary_emb(x, image_rotary_emb, sequence_dim=1) for x in (q, k))
        shares = torch.softmax(torch.einsum("bqhd,bkhd->bhqk", q, k) * attn.head_dim**-0.5, dim=-1)
        out = torch.einsum("bhqk,bkhd->bqhd", shares, v).flatten(2)
        if encoder_hidden_states is None:
            return out
        text = encoder_hidden_states.shape[1]
        return attn.to_out[0](out[:, text:]), attn.to_add_out(out[:, :text])


def test_sizes_are_read_from_the_live_model() -> None:
    found = Flux().describe(make_flux(joint_blocks=4))
    assert (found.name, found.layer_count) == ("flux", 4)
    assert (found.text_width, found.patch, found.default_layers) == (128, 2, (2, 3))


def test_default_layers_of_a_full_size_flux_are_the_authors() -> None:
    config = SimpleNamespace(num_attention_heads=24, attention_head_dim=128, joint_attention_dim=4096)
    found = Flux().describe(SimpleNamespace(config=config, transformer_blocks=[None] * 19))
    assert found.default_layers == (15, 16, 17, 18)


def test_other_models_are_refused_with_the_families_there_are() -> None:
    assert Flux().matches(make_flux())
    with pytest.raises(
        UserError, match=r"^Linear is not supported. .* families: flux, flux2, flux3, sd3.*\. Choose another model\.$"
    ):
        adapter_for(nn.Linear(1, 1))


@pytest.mark.parametrize("rows, columns", [(3, 3), (2, 5)])
def test_latents_and_positions_are_packed_as_the_pipeline_packs_them(rows: int, columns: int) -> None:
    from diffusers import FluxPipeline

    latents = torch.randn(2, 16, 2 * rows, 2 * columns, generator=torch.Generator().manual_seed(0))
    packed = pack_latents(latents)
    assert torch.equal(packed, FluxPipeline._pack_latents(latents, 2, 16, 2 * rows, 2 * columns))
    assert torch.equal(unpack_latents(packed, rows), latents)
    theirs = FluxPipeline._prepare_latent_image_ids(1, rows, columns, torch.device("cpu"), torch.float32)
    assert torch.equal(position_ids(rows, columns, torch.device("cpu")), theirs)


def test_text_tokens_come_first() -> None:
    image = Flux().image_slice({"encoder_hidden_states": torch.zeros(2, 5, 8)})
    assert list(range(17))[image] == list(range(5, 17))


@pytest.mark.parametrize("batch, rows, columns", [(1, 3, 3), (2, 2, 5)])
def test_attention_outputs_equal_a_naive_twin(transformer: Any, batch: int, rows: int, columns: int) -> None:
    inputs = flux_inputs(transformer, batch, rows, columns)
    embeddings = torch.randn(4, 128, generator=torch.Generator().manual_seed(2))
    ours = run_stream(transformer, inputs, embeddings)
    images, concepts = naive_flux(transformer, inputs, embeddings)
    assert len(ours.concept) == len(concepts) == transformer.config.num_layers
    for layer in range(len(concepts)):
        assert relative_error(ours.image[layer], images[layer]) < CLOSE, layer
        assert relative_error(ours.concept[layer], concepts[layer]) < CLOSE, layer


def test_another_attention_processor_or_backend_gives_the_same() -> None:
    transformer = make_flux()
    inputs = flux_inputs(transformer)
    embeddings = torch.randn(3, 128, generator=torch.Generator().manual_seed(2))
    usual = run_stream(transformer, inputs, embeddings)

    def check() -> None:
        with torch.no_grad():
            plain = transformer(**inputs)[0]
        other = run_stream(transformer, inputs, embeddings)
        assert torch.equal(other.output, plain)
        for layer in range(len(usual.concept)):
            assert relative_error(other.image[layer], usual.image[layer]) < CLOSE, layer
            assert relative_error(other.concept[layer], usual.concept[layer]) < CLOSE, layer

    transformer.set_attention_backend("_native_math")
    check()
    transformer.reset_attention_backend()
    for block in transformer.transformer_blocks:
        block.attn.set_processor(ExplicitProcessor())
    check()


def test_float16_is_clipped_where_the_model_clips_it() -> None:
    block = make_flux(joint_blocks=1).transformer_blocks[0].half()
    ones = torch.ones(1, 48, dtype=torch.float16)
    concept = torch.full((1, 2, 48), 65504.0, dtype=torch.float16)
    with torch.no_grad():
        out = Flux().update_concepts(block, concept, 0 * concept, Modulation(ones, ones, ones, 1000 * ones))
    assert out.max() == 65504  # one step more is infinity
    assert out.isfinite().all()
