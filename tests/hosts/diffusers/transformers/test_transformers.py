"""The adapters of all families, against the model's own blocks with the concepts in the prompt's place."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor

from concept_attention.concepts import parse_concepts
from concept_attention.hosts.diffusers.adapters import adapter_for
from concept_attention.hosts.diffusers.recorder import Recorder
from concept_attention.hosts.diffusers.run_hooks import StopForward
from concept_attention.hosts.diffusers.stream import ConceptStream
from concept_attention.hosts.encoded import EncodedConcepts

from ....support.diffusers.families import FAMILIES, Family
from ....support.diffusers.hooks import untouched
from ....support.diffusers.tiny_transformers import TEXT_WIDTH
from ....support.diffusers.twin import twin
from ....support.numbers import naive_scores, relative_error

CLOSE = 1e-5


@pytest.fixture(params=FAMILIES)
def family(request: pytest.FixtureRequest) -> Family:
    return FAMILIES[request.param]


def embeddings(count: int = 3) -> Tensor:
    return torch.randn(count, TEXT_WIDTH, generator=torch.Generator().manual_seed(2))


def run_stream(transformer: Any, inputs: dict[str, Any], concepts: Tensor, **options: Any) -> Any:
    """One evaluation with concepts; per layer the attention outputs of image and concepts."""
    seen: list[tuple[Tensor, Tensor]] = []
    last = options.pop("last", len(transformer.transformer_blocks) - 1)
    stream = ConceptStream(
        transformer,
        concepts,
        lambda layer, image, concept: seen.append((image.clone(), concept.clone())),
        last,
        **options,
    )
    with stream, torch.no_grad():
        output = transformer(**inputs)[0]
    return SimpleNamespace(image=[i for i, _ in seen], concept=[c for _, c in seen], output=output)


def compare(ours: Any, expected: tuple[list[Tensor], list[Tensor]], count: int | None = None) -> None:
    images, concepts = expected
    assert len(ours.concept) == len(concepts) == 3
    for layer in range(3):
        assert relative_error(ours.image[layer], images[layer]) < CLOSE, layer
        assert relative_error(ours.concept[layer], concepts[layer][:, :count]) < CLOSE, layer


@pytest.mark.parametrize("batch, rows, columns", [(1, 3, 3), (2, 2, 4)])
def test_attention_outputs_equal_the_models_own_blocks(family: Family, batch: int, rows: int, columns: int) -> None:
    transformer = family.make()
    inputs = family.inputs(transformer, batch, rows, columns)
    with torch.no_grad():
        plain = transformer(**inputs)[0]
    ours = run_stream(transformer, inputs, embeddings())
    assert torch.equal(ours.output, plain)
    assert untouched(transformer)
    assert ours.image[0].shape[1] == family.frames * rows * columns
    compare(ours, twin(family, transformer, inputs, embeddings()))


def test_the_prompts_own_tokens_as_concepts_reproduce_the_text_stream(
    family: Family, monkeypatch: pytest.MonkeyPatch
) -> None:
    transformer = family.make()
    adapter = adapter_for(transformer)
    inputs = family.inputs(transformer, 2, 2, 4, 1)  # one token: in Flux 2 all concepts have one position
    monkeypatch.setattr(adapter, "dev_position", 0, raising=False)
    monkeypatch.setattr(adapter, "klein_position", 0, raising=False)
    text_tokens: list[Tensor] = []
    handles = [
        block.register_forward_hook(lambda module, args, output: text_tokens.append(output[family.text_out]))
        for block in transformer.transformer_blocks
    ]
    with torch.no_grad():
        transformer(**inputs)
    for handle in handles:
        handle.remove()
    concept_tokens: list[Tensor] = []
    update = adapter.update_concepts

    def updating(*args: Any) -> Tensor:
        concept_tokens.append(update(*args))
        return concept_tokens[-1]

    monkeypatch.setattr(adapter, "update_concepts", updating)
    run_stream(transformer, inputs, inputs["encoder_hidden_states"], last=2)
    assert len(concept_tokens) == 2
    for layer in range(2):
        assert relative_error(concept_tokens[layer], text_tokens[layer]) < CLOSE, layer


def test_every_image_may_have_its_own_embeddings(family: Family) -> None:
    transformer = family.make()
    inputs = family.inputs(transformer, 2, 2, 3)
    own = torch.randn(2, 3, TEXT_WIDTH, generator=torch.Generator().manual_seed(3))
    compare(run_stream(transformer, inputs, own), twin(family, transformer, inputs, own))


def test_only_the_last_rows_are_looked_at(family: Family) -> None:
    """Where a pipeline evaluates the negative prompt in the same batch, the prompt's half comes last."""
    transformer = family.make()
    inputs = family.inputs(transformer, 4, 2, 3)
    half = run_stream(transformer, inputs, embeddings(), observe=lambda arguments: slice(-2, None))
    images, concepts = twin(family, transformer, inputs, embeddings())
    compare(half, ([one[2:] for one in images], [one[2:] for one in concepts]))
    assert relative_error(half.concept[1], concepts[1][:2]) > 100 * CLOSE


def test_a_collapsed_pad_token_equals_many(family: Family) -> None:
    transformer = family.make()
    inputs = family.inputs(transformer, 1, 2, 3)
    ours = run_stream(transformer, inputs, torch.cat([embeddings(), torch.zeros(1, TEXT_WIDTH)]), pad_count=223)
    compare(ours, twin(family, transformer, inputs, embeddings(), pads=223), 4)


def test_fused_projections_give_what_the_fused_model_gives(family: Family) -> None:
    transformer = family.make()
    inputs = family.inputs(transformer, 2, 2, 3)
    before = run_stream(transformer, inputs, embeddings())
    transformer.fuse_qkv_projections()
    if not family.fuses:  # the second attention of SD3.5 medium fails in diffusers
        with pytest.raises(AttributeError), torch.no_grad():
            transformer(**inputs)
        return
    compare(run_stream(transformer, inputs, embeddings()), twin(family, transformer, inputs, embeddings()))
    transformer.unfuse_qkv_projections()
    after = run_stream(transformer, inputs, embeddings())
    assert relative_error(after.concept[2], before.concept[2]) < CLOSE


@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt])
def test_nothing_stays_after_an_error_in_a_block(
    family: Family, error: type[BaseException], monkeypatch: pytest.MonkeyPatch
) -> None:
    transformer = family.make()
    inputs = family.inputs(transformer, 1, 2, 3)

    def fail(*args: Any, **kwargs: Any) -> None:
        raise error

    with monkeypatch.context() as patch:
        patch.setattr(transformer.transformer_blocks[1].ff, "forward", fail)
        with pytest.raises(error):
            run_stream(transformer, inputs, embeddings())
    assert untouched(transformer)


def test_stop_ends_the_evaluation(family: Family) -> None:
    transformer = family.make()
    with pytest.raises(StopForward):
        run_stream(transformer, family.inputs(transformer, 1, 2, 3), embeddings(), last=1, stop_after_last_layer=True)
    assert untouched(transformer)


def test_a_recording_holds_the_scores_of_the_families_own_mode(family: Family) -> None:
    transformer = family.make()
    described = adapter_for(transformer).describe(transformer)
    assert (described.name, described.layer_count, described.text_width) == (family.name, 3, TEXT_WIDTH)
    inputs = family.inputs(transformer, 2, 2, 4)
    concepts = EncodedConcepts(parse_concepts("one, two, three"), embeddings(), (1, 1, 1), "first")
    tokens = family.frames * 8
    recorder = Recorder(SimpleNamespace(transformer=transformer), concepts, "all", family.name, tokens, rows=2)
    with recorder.watching(), torch.no_grad():
        transformer(**inputs)
        assert recorder.commit(0, 0.5)
    recording = recorder.build((family.frames, 2, 4), (32, 64), {})
    assert recording.mode == family.name
    images, outs = twin(family, transformer, inputs, embeddings(), recording.pad_count)
    expected = naive_scores(images, outs)
    assert relative_error(recording.scores[0], expected[:, :, :3]) < CLOSE
    if recording.pad_count:
        assert relative_error(recording.pad_scores[0], expected[:, :, 3]) < CLOSE
