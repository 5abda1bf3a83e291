"""The families whose own blocks run on the concepts, against a naive twin of each."""

from __future__ import annotations

import dataclasses
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from diffusers.models.attention_dispatch import attention_backend
from torch import Tensor, nn

from concept_attention.choices import Attends
from concept_attention.errors import UserError
from concept_attention.hosts.diffusers.adapters import ADAPTERS, adapter_for
from concept_attention.hosts.diffusers.attention_calls import places_of
from concept_attention.hosts.diffusers.stream import ConceptStream
from concept_attention.hosts.diffusers.transformers.own_block import OwnBlockAdapter

from ....support.diffusers.hooks import untouched
from ....support.diffusers.own_blocks.catalogue import OWN_BLOCKS
from ....support.diffusers.own_blocks.family import OwnBlockFamily
from ....support.diffusers.own_blocks.twin import block_calls, blocks_of, naive_twin
from ....support.diffusers.tiny_transformers import TEXT_WIDTH
from ....support.numbers import relative_error

CLOSE = 1e-5


@pytest.fixture(scope="module", params=OWN_BLOCKS)
def family(request: pytest.FixtureRequest) -> OwnBlockFamily:
    """The family, with one transformer for all tests of it."""
    found = OWN_BLOCKS[request.param]
    transformer = found.make()
    return dataclasses.replace(found, make=lambda: transformer)


def embeddings(count: int = 3) -> Tensor:
    return torch.randn(count, TEXT_WIDTH, generator=torch.Generator().manual_seed(2))


def run_stream(transformer: Any, inputs: dict[str, Any], concepts: Tensor, **options: Any) -> Any:
    """One evaluation with concepts; per layer the attention outputs of image and concepts."""
    seen: list[tuple[Tensor, Tensor]] = []
    problems: list[str] = []
    tokens = adapter_for(transformer).target_grid(transformer, inputs)
    count = tokens[0] * tokens[1] * tokens[2]
    stream = ConceptStream(
        transformer,
        concepts,
        lambda layer, image, concept: seen.append((image[:, :count].clone(), concept.clone())),
        2,
        on_problem=problems.append,
        **options,
    )
    with stream, torch.no_grad():
        output = transformer(**inputs)[0]
    assert not problems
    return SimpleNamespace(image=[i for i, _ in seen], concept=[c for _, c in seen], output=output, grid=tokens)


def same(one: Any, other: Any) -> bool:
    """Whether two outputs are the same to the bit: tensors, or lists of them."""
    return all(map(torch.equal, one, other)) if isinstance(one, list) else torch.equal(one, other)


def test_every_family_is_tested() -> None:
    own = {type(adapter_for(family.make())) for family in OWN_BLOCKS.values()}
    assert own == {type(adapter) for adapter in ADAPTERS if isinstance(adapter, OwnBlockAdapter)}


@pytest.mark.parametrize("batch, rows, columns", [(1, 3, 3), (2, 2, 4)])
def test_attention_outputs_equal_a_naive_twin(family: OwnBlockFamily, batch: int, rows: int, columns: int) -> None:
    transformer = family.make()
    inputs = family.inputs(transformer, batch, rows, columns)
    with torch.no_grad():
        plain = transformer(**inputs)[0]
    ours = run_stream(transformer, inputs, embeddings())
    assert same(ours.output, plain)
    assert untouched(transformer)
    assert ours.grid == (family.frames, rows, columns)
    images, concepts = naive_twin(family, transformer, inputs, embeddings(), (rows, columns))
    assert len(ours.concept) == len(concepts) == 3
    for layer in range(3):
        assert relative_error(ours.image[layer], images[layer]) < CLOSE, layer
        assert relative_error(ours.concept[layer], concepts[layer]) < CLOSE, layer


def test_permuting_the_concepts_permutes_what_they_give(family: OwnBlockFamily) -> None:
    transformer = family.make()
    inputs, order = family.inputs(transformer, 1, 2, 3), [2, 0, 1]
    usual, permuted = (run_stream(transformer, inputs, embeddings()[rows]) for rows in (slice(None), order))
    for one, other in zip(usual.concept, permuted.concept, strict=True):
        assert relative_error(other, one[:, order]) < CLOSE


def test_the_prompts_only_token_as_a_concept_gives_its_own_attention_output(
    family: OwnBlockFamily, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not family.one_token:
        pytest.skip("the blocks always see other text")
    transformer = family.make()
    monkeypatch.setattr(type(adapter_for(transformer)), "concept_position", 0, raising=False)
    inputs = family.inputs(transformer, 1, 2, 3, 1)
    token = inputs[family.prompt][:, :1].flatten(2)
    with torch.no_grad():
        _, outputs = block_calls(family, transformer, inputs)
    ours = run_stream(transformer, inputs, token[0])
    for concept, (attended, *_) in zip(ours.concept, outputs, strict=True):
        own = attended[:, :1] if family.text_first else attended[:, -1:]
        assert relative_error(concept, own) < CLOSE


def test_only_the_last_rows_are_looked_at(family: OwnBlockFamily) -> None:
    """Where a pipeline evaluates the negative prompt in the same batch, the prompt's half comes last."""
    transformer = family.make()
    inputs = family.inputs(transformer, 4, 2, 3)
    if adapter_for(transformer).batch_size(inputs) == 1:
        pytest.skip("one evaluation has one row")
    half = run_stream(transformer, inputs, embeddings(), observe=lambda arguments: slice(-2, None))
    images, concepts = naive_twin(family, transformer, inputs, embeddings(), (2, 3))
    for layer in range(3):
        assert relative_error(half.image[layer], images[layer][-2:]) < CLOSE, layer
        assert relative_error(half.concept[layer], concepts[layer][-2:]) < CLOSE, layer


def test_every_image_may_have_its_own_embeddings(family: OwnBlockFamily) -> None:
    transformer = family.make()
    inputs = family.inputs(transformer, 2, 2, 3)
    if adapter_for(transformer).batch_size(inputs) == 1:
        pytest.skip("one evaluation has one row")
    own = torch.randn(2, 3, TEXT_WIDTH, generator=torch.Generator().manual_seed(3))
    both = run_stream(transformer, inputs, own)
    first, second = (run_stream(transformer, inputs, own[row]) for row in range(2))
    for layer in range(3):
        assert relative_error(both.concept[layer][:1], first.concept[layer][:1]) < CLOSE, layer
        assert relative_error(both.concept[layer][1:], second.concept[layer][1:]) < CLOSE, layer


def test_nothing_is_left_after_an_error(family: OwnBlockFamily) -> None:
    transformer, before = family.make(), torch.nn.functional.scaled_dot_product_attention
    places = [place for block in blocks_of(family, transformer) for place in places_of(block)]
    functions = [getattr(*place) for place in places]

    def fail(*_: Any) -> None:
        raise KeyboardInterrupt

    last = blocks_of(family, transformer)[-1].register_forward_pre_hook(fail)
    with pytest.raises(KeyboardInterrupt):
        run_stream(transformer, family.inputs(transformer, 1, 2, 3), embeddings())
    last.remove()
    assert untouched(transformer)
    assert [getattr(*place) for place in places] == functions
    assert torch.nn.functional.scaled_dot_product_attention is before


def test_another_attention_backend_gives_the_same(family: OwnBlockFamily) -> None:
    transformer = family.make()
    inputs = family.inputs(transformer, 1, 2, 3)
    usual = run_stream(transformer, inputs, embeddings())
    with attention_backend("_native_math"):
        other = run_stream(transformer, inputs, embeddings())
    for layer in range(3):
        assert relative_error(other.image[layer], usual.image[layer]) < CLOSE, layer
        assert relative_error(other.concept[layer], usual.concept[layer]) < CLOSE, layer


@pytest.mark.parametrize("attends", ["image", "concepts", "itself"])
def test_concepts_attend_to_what_they_are_let(family: OwnBlockFamily, attends: Attends) -> None:
    transformer = family.make()
    inputs = family.inputs(transformer, 1, 2, 3)
    two, one = (run_stream(transformer, inputs, embeddings(count), attends=attends) for count in (2, 1))
    alone = relative_error(two.concept[0][:, :1], one.concept[0])
    assert alone > CLOSE if attends == "concepts" else alone < CLOSE


def test_the_vectors_before_rope_cannot_be_shown(family: OwnBlockFamily) -> None:
    transformer = family.make()
    with pytest.raises(UserError, match="seen after RoPE"):
        ConceptStream(transformer, embeddings(), lambda *_: None, 2, on_vectors=lambda *_: None)


@pytest.mark.parametrize(
    "name, reason",
    [
        ("OmniGenTransformer2DModel", "its text never attends to the image"),
        ("PRXTransformer2DModel", "it has cross-attention only"),
        ("GlmImageTransformer2DModel", "it gets no prompt"),
    ],
)
def test_transformers_that_read_text_in_another_way_are_refused_with_the_reason(name: str, reason: str) -> None:
    with pytest.raises(UserError, match=f"^{name} is not supported: {reason}.* Expected"):
        adapter_for(type(name, (nn.Module,), {})())
