"""The Flux adapter: sizes, token order, and every step of the concept stream against the model and a naive twin."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from concept_attention.hosts.diffusers.registry import adapter_for
from concept_attention.hosts.diffusers.stream import ConceptStream
from concept_attention.hosts.diffusers.transformers import flux

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


def test_sizes_are_read_from_the_live_model(tools: Any) -> None:
    found = flux.describe(tools.make_transformer(joint_blocks=4))
    assert (found.name, found.joint_blocks) == ("flux", 4)
    assert (found.text_width, found.patch, found.default_layers) == (128, 2, (2, 3))


def test_default_layers_of_a_full_size_flux_are_the_authors() -> None:
    config = SimpleNamespace(num_attention_heads=24, attention_head_dim=128, joint_attention_dim=4096)
    found = flux.describe(SimpleNamespace(config=config, transformer_blocks=[None] * 19))
    assert found.default_layers == (15, 16, 17, 18)


def test_other_models_are_refused_with_the_families_there_are(tools: Any) -> None:
    assert flux.matches(tools.make_transformer())
    with pytest.raises(
        ValueError, match=r"^Linear has no joint blocks .* families: flux, flux2, sd3.*\. Choose another model\.$"
    ):
        adapter_for(nn.Linear(1, 1))


@pytest.mark.parametrize("rows, columns", [(3, 3), (2, 5)])
def test_latents_and_positions_are_packed_as_the_pipeline_packs_them(rows: int, columns: int) -> None:
    from diffusers import FluxPipeline

    latents = torch.randn(2, 16, 2 * rows, 2 * columns, generator=torch.Generator().manual_seed(0))
    packed = flux.pack_latents(latents)
    assert torch.equal(packed, FluxPipeline._pack_latents(latents, 2, 16, 2 * rows, 2 * columns))
    assert torch.equal(flux.unpack_latents(packed, rows), latents)
    theirs = FluxPipeline._prepare_latent_image_ids(1, rows, columns, torch.device("cpu"), torch.float32)
    assert torch.equal(flux.position_ids(rows, columns, torch.device("cpu")), theirs)


def test_text_tokens_come_first() -> None:
    found = flux.token_slices({"encoder_hidden_states": torch.zeros(2, 5, 8)})
    sequence = list(range(17))
    assert sequence[found.image] == list(range(5, 17))


def test_the_prompts_own_tokens_as_concepts_reproduce_the_text_stream(
    transformer: Any, tools: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Concepts are given the prompt's embeddings and its pooled vector, so that their keys are the prompt's too."""
    inputs = tools.make_inputs(transformer, batch=2, rows=2, columns=5, text=6)
    text_tokens: list[Tensor] = []  # after each block
    text_outs: list[Tensor] = []  # attention output in each block
    for block in transformer.transformer_blocks:
        block.register_forward_hook(lambda module, args, output: text_tokens.append(output[0].clone()))
        block.attn.to_add_out.register_forward_pre_hook(lambda module, args: text_outs.append(args[0].clone()))
    with torch.no_grad():
        transformer(**inputs)
    for part in transformer.modules():
        part._forward_hooks.clear()
        part._forward_pre_hooks.clear()

    monkeypatch.setattr(flux, "concept_conditioning", lambda model, args: model.time_text_embed.forward(*args))
    concept_tokens: list[Tensor] = []
    update = flux.update_concepts

    def updating(*args: Any) -> Tensor:
        concept_tokens.append(update(*args))
        return concept_tokens[-1]

    monkeypatch.setattr(flux, "update_concepts", updating)
    concept_outs: list[Tensor] = []
    layers = transformer.config.num_layers
    # Done one layer after the last, so that the last is updated as well.
    with (
        ConceptStream(transformer, inputs["encoder_hidden_states"], lambda *a: concept_outs.append(a[2]), layers),
        torch.no_grad(),
    ):
        transformer(**inputs)
    assert len(concept_tokens) == len(text_tokens) == layers
    for layer in range(layers):
        assert tools.relative_error(concept_outs[layer], text_outs[layer]) < CLOSE, layer
        assert tools.relative_error(concept_tokens[layer], text_tokens[layer]) < CLOSE, layer


@pytest.mark.parametrize("batch, rows, columns", [(1, 3, 3), (2, 2, 5)])
def test_attention_outputs_equal_a_naive_twin(
    transformer: Any, tools: Any, batch: int, rows: int, columns: int
) -> None:
    inputs = tools.make_inputs(transformer, batch, rows, columns)
    embeddings = torch.randn(4, 128, generator=torch.Generator().manual_seed(2))
    ours = run_stream(transformer, inputs, embeddings)
    images, concepts = tools.naive_flux(transformer, inputs, embeddings)
    assert len(ours.concept) == len(concepts) == transformer.config.num_layers
    for layer in range(len(concepts)):
        assert tools.relative_error(ours.image[layer], images[layer]) < CLOSE, layer
        assert tools.relative_error(ours.concept[layer], concepts[layer]) < CLOSE, layer


def test_every_picture_may_have_its_own_embeddings(tools: Any) -> None:
    transformer = tools.make_transformer()
    inputs = tools.make_inputs(transformer, batch=2)
    embeddings = torch.randn(2, 3, 128, generator=torch.Generator().manual_seed(2))
    ours = run_stream(transformer, inputs, embeddings)
    _, concepts = tools.naive_flux(transformer, inputs, embeddings)
    for layer in range(len(concepts)):
        assert tools.relative_error(ours.concept[layer], concepts[layer]) < CLOSE, layer


def test_a_collapsed_pad_token_equals_many(tools: Any) -> None:
    transformer = tools.make_transformer()
    inputs = tools.make_inputs(transformer)
    embeddings = torch.randn(3, 128, generator=torch.Generator().manual_seed(2))
    ours = run_stream(transformer, inputs, torch.cat([embeddings, torch.zeros(1, 128)]), pad_count=223)
    _, concepts = tools.naive_flux(transformer, inputs, embeddings, pads=223)
    for layer in range(len(concepts)):
        assert tools.relative_error(ours.concept[layer], concepts[layer][:, :4]) < CLOSE, layer


def test_fused_projections_give_the_same(transformer: Any, tools: Any) -> None:
    inputs = tools.make_inputs(transformer)
    embeddings = torch.randn(3, 128, generator=torch.Generator().manual_seed(2))
    apart = run_stream(transformer, inputs, embeddings)
    transformer.fuse_qkv_projections()
    assert transformer.transformer_blocks[0].attn.fused_projections
    fused = run_stream(transformer, inputs, embeddings)
    for layer in range(len(apart.concept)):
        assert tools.relative_error(fused.image[layer], apart.image[layer]) < CLOSE, layer
        assert tools.relative_error(fused.concept[layer], apart.concept[layer]) < CLOSE, layer


def test_another_attention_processor_or_backend_gives_the_same(tools: Any) -> None:
    transformer = tools.make_transformer()
    inputs = tools.make_inputs(transformer)
    embeddings = torch.randn(3, 128, generator=torch.Generator().manual_seed(2))
    usual = run_stream(transformer, inputs, embeddings)

    def check() -> None:
        with torch.no_grad():
            plain = transformer(**inputs)[0]
        other = run_stream(transformer, inputs, embeddings)
        assert torch.equal(other.output, plain)
        for layer in range(len(usual.concept)):
            assert tools.relative_error(other.image[layer], usual.image[layer]) < CLOSE, layer
            assert tools.relative_error(other.concept[layer], usual.concept[layer]) < CLOSE, layer

    transformer.set_attention_backend("_native_math")
    check()
    transformer.reset_attention_backend()
    for block in transformer.transformer_blocks:
        block.attn.set_processor(ExplicitProcessor())
    check()


def test_float16_is_clipped_where_the_model_clips_it(tools: Any) -> None:
    block = tools.make_transformer(joint_blocks=1).transformer_blocks[0].half()
    ones = torch.ones(1, 48, dtype=torch.float16)
    concept = torch.full((1, 2, 48), 65504.0, dtype=torch.float16)
    with torch.no_grad():
        out = flux.update_concepts(block, concept, 0 * concept, flux.Modulation(ones, ones, ones, 1000 * ones))
    assert out.max() == 65504  # one step more is infinity
    assert out.isfinite().all()
