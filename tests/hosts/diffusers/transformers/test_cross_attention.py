"""The families whose concepts are read as keys. Expected maps are those of the model's own attention calls.

Images are not square.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from diffusers.models.attention_dispatch import attention_backend
from torch import Tensor

from concept_attention.hosts.diffusers.adapters import CROSS_ADAPTERS, cross_adapter_for
from concept_attention.hosts.diffusers.attention_calls import places_of
from concept_attention.hosts.diffusers.cross_stream import CrossStream
from concept_attention.hosts.diffusers.run_hooks import StopForward
from concept_attention.hosts.encoded import ConceptText
from concept_attention.text_attention import cross_scores, gram_scores, resize_scores

from ....support.diffusers.cross_attention.catalogue import CROSS
from ....support.diffusers.cross_attention.family import Attended, CrossFamily, naive_gram
from ....support.diffusers.hooks import untouched
from ....support.numbers import relative_error

CLOSE = 1e-5


@pytest.fixture(scope="module", params=CROSS)
def family(request: pytest.FixtureRequest) -> CrossFamily:
    """The family, with one transformer for all tests of it."""
    found = CROSS[request.param]
    transformer = found.make()
    return dataclasses.replace(found, make=lambda: transformer)


def run_stream(
    family: CrossFamily, inputs: dict[str, Any], texts: list[ConceptText], layers: Sequence[int] = (), **options: Any
) -> Any:
    """One evaluation with concepts; per layer the scores of both readings, on the grid of the recording."""
    cross, gram, problems, transformer = list[Tensor](), list[Tensor](), list[str](), family.make()

    def on_text(layer: int, attention: Any, own: Any, grid: Any) -> None:
        cross.append(resize_scores(cross_scores(attention), own, grid, logarithms=True))
        gram.append(resize_scores(gram_scores(attention, own[0]), own, grid, logarithms=False))

    layers = layers or range(family.layers)
    stream = CrossStream(transformer, texts, on_text, layers, on_problem=problems.append, **options)
    with stream, torch.no_grad():
        output = transformer(**inputs)[0]
    assert not problems
    return SimpleNamespace(cross=torch.stack(cross), gram=torch.stack(gram), output=output)


def observe(family: CrossFamily, inputs: dict[str, Any], rows: int, columns: int) -> tuple[Tensor, list[Attended]]:
    """The output of one evaluation without concepts, and every layer's attention to the text."""
    with family.observed(rows, columns) as calls, torch.no_grad():
        output = family.make()(**inputs)[0]
    assert len(calls) == family.layers
    return output, calls


def maps_of(family: CrossFamily, attended: Attended, texts: Sequence[ConceptText]) -> Tensor:
    """The mean over heads and tokens of the attention to each text's tokens, (B, C, N)."""
    return torch.stack([attended.weights(family.columns_of(text)).mean((1, 3)) for text in texts], dim=1)


def on_recording(maps: Tensor, own: tuple[int, int], grid: tuple[int, int]) -> Tensor:
    return F.interpolate(maps.unflatten(-1, own), size=grid, mode="bilinear").flatten(2) if own != grid else maps


def others(family: CrossFamily, seed: int = 9) -> list[ConceptText]:
    """Three concepts, of two tokens each, out of another prompt."""
    states = family.texts(family.inputs(family.make(), 1, 2, 4, seed=seed))[0].states
    return [ConceptText(states, (start, start + 2)) for start in (0, 2, 4)]


def test_every_family_is_tested() -> None:
    assert {type(adapter).__name__ for adapter in CROSS_ADAPTERS} == {family.adapter for family in CROSS.values()}


def test_the_model_is_known_by_its_adapter(family: CrossFamily) -> None:
    transformer = family.make()
    found = cross_adapter_for(transformer)
    described = found.describe(transformer)
    assert type(found).__name__ == family.adapter
    assert described.reading == "cross" and described.layer_count == family.layers
    assert described.text_width == family.texts(family.inputs(transformer, 1, 2, 4))[0].states.shape[-1]


@pytest.mark.parametrize("batch, rows, columns", [(1, 4, 6), (2, 2, 4)])
def test_a_word_of_the_prompt_gets_its_own_attention_map(
    family: CrossFamily, batch: int, rows: int, columns: int
) -> None:
    inputs = family.inputs(family.make(), batch, rows, columns)
    plain, calls = observe(family, inputs, rows, columns)
    texts = family.texts(inputs)
    texts = [*texts, ConceptText(texts[0].states, (0, 2))]
    ours = run_stream(family, inputs, texts)
    assert torch.equal(ours.output, plain)
    assert untouched(family.make())
    grids = family.grids(rows, columns) if family.grids else [(rows, columns)] * family.layers
    for layer, attended in enumerate(calls):
        expected = maps_of(family, attended, texts)
        if family.frames == 1:
            expected = on_recording(expected, grids[layer], (rows, columns))
        assert relative_error(ours.cross[layer].exp(), expected) < CLOSE, layer
        if grids[layer] == (rows, columns):
            assert relative_error(ours.gram[layer], naive_gram(family, attended, texts)) < CLOSE, layer


def test_permuting_concepts_permutes_their_maps(family: CrossFamily) -> None:
    inputs, texts, order = family.inputs(family.make(), 1, 4, 8), others(family), [2, 0, 1]
    usual, permuted = (run_stream(family, inputs, one) for one in (texts, [texts[n] for n in order]))
    assert relative_error(permuted.cross, usual.cross[:, :, order]) < CLOSE
    assert relative_error(permuted.gram, usual.gram[:, :, order]) < CLOSE
    assert usual.cross.std(-1).min() > 0 and usual.gram.std(-1).min() > 0


def test_only_the_last_rows_are_looked_at(family: CrossFamily) -> None:
    """Where a pipeline evaluates the negative prompt in the same batch, the prompt's half comes last."""
    inputs, texts = family.inputs(family.make(), 4, 2, 4), others(family)
    whole = run_stream(family, inputs, texts)
    half = run_stream(family, inputs, texts, observe=lambda arguments: slice(-2, None))
    assert relative_error(half.cross, whole.cross[:, -2:]) < CLOSE
    assert relative_error(half.gram, whole.gram[:, -2:]) < CLOSE


def test_only_some_layers_are_read_and_the_pass_may_end_after_them(family: CrossFamily) -> None:
    inputs, texts = family.inputs(family.make(), 1, 2, 4), others(family)
    whole = run_stream(family, inputs, texts)
    some = run_stream(family, inputs, texts, layers=[1])
    assert torch.equal(some.cross, whole.cross[1:2])
    with pytest.raises(StopForward):
        run_stream(family, inputs, texts, layers=[1], stop_after_last_layer=True)
    assert untouched(family.make())


def test_nothing_is_left_after_an_error(family: CrossFamily) -> None:
    transformer = family.make()
    adapter = cross_adapter_for(transformer)
    block = adapter.layers(transformer)[-1]
    before = [getattr(*place) for place in places_of(block)]

    def fail(*_: Any) -> None:
        raise KeyboardInterrupt

    handle = adapter.attention(block).register_forward_pre_hook(fail)
    with pytest.raises(KeyboardInterrupt):
        run_stream(family, family.inputs(transformer, 1, 2, 4), others(family))
    handle.remove()
    assert untouched(transformer)
    assert [getattr(*place) for place in places_of(block)] == before


def test_another_attention_backend_gives_the_same(family: CrossFamily) -> None:
    inputs, texts = family.inputs(family.make(), 1, 2, 4), others(family)
    usual = run_stream(family, inputs, texts)
    with attention_backend("_native_math"):
        other = run_stream(family, inputs, texts)
    assert relative_error(other.cross, usual.cross) < CLOSE
    assert relative_error(other.gram, usual.gram) < CLOSE


def test_where_looking_fails_the_run_goes_on(family: CrossFamily, monkeypatch: pytest.MonkeyPatch) -> None:
    transformer, problems = family.make(), list[str]()
    inputs = family.inputs(transformer, 1, 2, 4)
    with torch.no_grad():
        plain = transformer(**inputs)[0]

    def fail(*args: Any) -> None:
        raise KeyError("keys")

    monkeypatch.setattr(type(cross_adapter_for(transformer)), "concept_keys", fail)
    stream = CrossStream(transformer, others(family), lambda *_: None, [0, 1], on_problem=problems.append)
    with stream, torch.no_grad():
        assert torch.equal(transformer(**inputs)[0], plain)
    assert problems == ["recording failed with KeyError: 'keys' (the log has the details)"]
    assert untouched(transformer)
