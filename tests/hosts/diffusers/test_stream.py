"""The concept stream: it leaves nothing behind, however a run ends, and does no work that nobody asked for."""

from __future__ import annotations

import threading
import weakref
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
import torch
from torch import Tensor

from concept_attention.errors import UserError
from concept_attention.hosts.diffusers.adapters import adapter_for
from concept_attention.hosts.diffusers.run_hooks import StopForward
from concept_attention.hosts.diffusers.stream import ConceptStream

from ...support.diffusers.hooks import untouched
from ...support.diffusers.tiny_transformers import flux_inputs, make_flux
from ...support.threads import in_a_thread


@pytest.fixture
def model() -> Any:
    return make_flux()


@pytest.fixture
def inputs(model: Any) -> dict[str, Any]:
    return flux_inputs(model)


def ignore(layer: int, image: Tensor, concept: Tensor) -> None:
    """An `on_layer` that wants nothing."""


def concepts(count: int = 2) -> Tensor:
    return torch.randn(count, 128, generator=torch.Generator().manual_seed(2))


def evaluate(model: Any, inputs: dict[str, Any]) -> Tensor:
    with torch.no_grad():
        return model(**inputs)[0]


def test_the_output_is_bit_identical_and_nothing_stays_on_the_model(transformer: Any) -> None:
    inputs = flux_inputs(transformer, rows=2, columns=5)
    plain = evaluate(transformer, inputs)
    with ConceptStream(transformer, concepts(), ignore, 2):
        assert not untouched(transformer)
        watched = evaluate(transformer, inputs)
    assert torch.equal(watched, plain)
    assert untouched(transformer)
    assert torch.equal(evaluate(transformer, inputs), plain)


@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt])
def test_nothing_stays_after_an_error_in_a_block(
    model: Any, inputs: dict[str, Any], error: type[BaseException], monkeypatch: pytest.MonkeyPatch
) -> None:
    plain = evaluate(model, inputs)

    def fail(*args: Any, **kwargs: Any) -> None:
        raise error

    with monkeypatch.context() as patch:
        patch.setattr(model.transformer_blocks[1].ff, "forward", fail)
        with pytest.raises(error), ConceptStream(model, concepts(), ignore, 2):
            evaluate(model, inputs)
    assert untouched(model)
    assert torch.equal(evaluate(model, inputs), plain)


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt])
def test_nothing_stays_after_an_error_in_the_callback(
    model: Any, inputs: dict[str, Any], error: type[BaseException]
) -> None:
    def fail(layer: int, image: Tensor, concept: Tensor) -> None:
        if layer == 1:
            raise error

    with pytest.raises(error), ConceptStream(model, concepts(), fail, 2):
        evaluate(model, inputs)
    assert untouched(model)


def test_a_failure_while_installing_leaves_nothing(model: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    adapter = adapter_for(model)
    points = adapter.hook_points

    def fail(block: Any) -> Any:
        if block is model.transformer_blocks[2]:
            raise KeyboardInterrupt
        return points(block)

    monkeypatch.setattr(adapter, "hook_points", fail)
    with pytest.raises(KeyboardInterrupt), ConceptStream(model, concepts(), ignore, 2):
        pytest.fail("entered")
    assert untouched(model)
    monkeypatch.undo()
    with ConceptStream(model, concepts(), ignore, 2):  # not taken for a second entry
        pass


def test_a_second_stream_is_refused_and_the_first_goes_on(model: Any, inputs: dict[str, Any]) -> None:
    layers: list[int] = []
    with ConceptStream(model, concepts(), lambda layer, *_: layers.append(layer), 2) as first:
        for second in (first, ConceptStream(model, concepts(), ignore, 0)):
            with pytest.raises(UserError, match="recording concepts already"), second:
                pytest.fail("entered")
        evaluate(model, inputs)
    assert layers == [0, 1, 2]
    assert untouched(model)


def test_a_stream_can_be_used_again(model: Any, inputs: dict[str, Any]) -> None:
    outs: list[Tensor] = []
    stream = ConceptStream(model, concepts(), lambda layer, image, concept: outs.append(concept), 0)
    for _ in range(2):
        with stream:
            evaluate(model, inputs)
    assert len(outs) == 2 and torch.equal(*outs)


def test_a_model_that_is_offloaded_part_by_part_gives_the_same(model: Any, inputs: dict[str, Any]) -> None:
    from accelerate import cpu_offload
    from accelerate.hooks import remove_hook_from_submodules

    outs: list[Tensor] = []
    stream = ConceptStream(model, concepts(), lambda layer, image, concept: outs.append(concept), 2)
    with stream:
        evaluate(model, inputs)
    cpu_offload(model, torch.device("cpu"))
    assert model.transformer_blocks[0].attn.add_q_proj.weight.device.type == "meta"
    plain = evaluate(model, inputs)
    with stream:
        assert torch.equal(evaluate(model, inputs), plain)
    assert all(torch.equal(now, before) for now, before in zip(outs[3:], outs[:3], strict=True))
    stopping = ConceptStream(model, concepts(), ignore, 1, stop_after_last_layer=True)
    with stopping, pytest.raises(StopForward):
        evaluate(model, inputs)
    assert torch.equal(evaluate(model, inputs), plain)
    remove_hook_from_submodules(model)


def test_stop_ends_the_evaluation_after_the_last_layer(
    model: Any, inputs: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    ran: list[str] = []
    for name, block in [*named(model.transformer_blocks, "joint"), *named(model.single_transformer_blocks, "single")]:
        note(monkeypatch, block, lambda name=name: ran.append(name))
    with ConceptStream(model, concepts(), ignore, 1, stop_after_last_layer=True):
        for _ in range(2):
            with pytest.raises(StopForward):
                evaluate(model, inputs)
    assert ran == ["joint 0", "joint 1"] * 2
    monkeypatch.undo()
    assert untouched(model)


def test_no_concept_is_computed_after_the_last_layer(
    model: Any, inputs: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every evaluation uses the text's weights once for the prompt, and once more for concepts where they are."""
    used: Counter[str] = Counter()
    for index, block in enumerate(model.transformer_blocks):
        for name in ("attn.add_q_proj", "attn.to_add_out", "ff_context"):
            note(monkeypatch, block.get_submodule(name), lambda key=f"{index} {name}": used.update([key]))
    with ConceptStream(model, concepts(), ignore, 1):
        evaluate(model, inputs)
    assert [used[f"{layer} attn.add_q_proj"] for layer in range(3)] == [2, 2, 1]
    assert [used[f"{layer} attn.to_add_out"] for layer in range(3)] == [2, 1, 1]
    assert [used[f"{layer} ff_context"] for layer in range(3)] == [2, 1, 1]


def test_an_evaluation_that_is_not_wanted_passes_unobserved(
    model: Any, inputs: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    used: list[int] = []
    note(monkeypatch, model.transformer_blocks[0].attn.add_q_proj, lambda: used.append(1))
    answers = iter([False, True, False])
    layers: list[int] = []
    with ConceptStream(
        model,
        concepts(),
        lambda layer, *_: layers.append(layer),
        2,
        observe=lambda arguments: slice(None) if next(answers) else None,
        stop_after_last_layer=True,
    ):
        evaluate(model, inputs)
        assert (layers, len(used)) == ([], 1)
        with pytest.raises(StopForward):
            evaluate(model, inputs)
        assert (layers, len(used)) == ([0, 1, 2], 3)
        evaluate(model, inputs)
    assert (layers, len(used)) == ([0, 1, 2], 4)


def test_an_interrupted_evaluation_does_not_leak_into_the_next(model: Any, inputs: dict[str, Any]) -> None:
    seen: list[tuple[int, Tensor]] = []
    fail = [True]

    def on_layer(layer: int, image: Tensor, concept: Tensor) -> None:
        if fail and layer == 1:
            fail.clear()
            raise RuntimeError
        seen.append((layer, concept))

    with ConceptStream(model, concepts(), on_layer, 2):
        with pytest.raises(RuntimeError):
            evaluate(model, inputs)
        evaluate(model, inputs)
        evaluate(model, inputs)
    assert [layer for layer, _ in seen] == [0, 0, 1, 2, 0, 1, 2]
    for first, second in zip(seen[1:4], seen[4:], strict=True):
        assert torch.equal(first[1], second[1])


def test_an_interrupted_evaluation_is_forgotten_before_the_next(
    model: Any, inputs: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    adapter, made, gone = adapter_for(model), [], []
    update = adapter.update_concepts

    def updating(*args: Any) -> Tensor:
        concept = update(*args)
        made.append(weakref.ref(concept))
        return concept

    def on_layer(layer: int, image: Tensor, concept: Tensor) -> None:
        if layer == 1:
            raise RuntimeError

    def observe(arguments: dict[str, Any]) -> slice | None:
        gone.append([one() is None for one in made])
        return slice(None) if len(gone) == 1 else None

    monkeypatch.setattr(adapter, "update_concepts", updating)
    with ConceptStream(model, concepts(), on_layer, 2, observe=observe):
        with pytest.raises(RuntimeError):
            evaluate(model, inputs)
        evaluate(model, inputs)
    assert gone == [[], [True]]


@pytest.mark.parametrize("stop", [False, True])
def test_no_tensor_of_the_model_outlives_the_evaluation(model: Any, inputs: dict[str, Any], stop: bool) -> None:
    alive: list[Any] = []
    with ConceptStream(
        model,
        concepts(),
        lambda layer, image, concept: alive.extend(map(weakref.ref, (image, concept))),
        2,
        stop_after_last_layer=stop,
    ):
        try:
            evaluate(model, inputs)
        except StopForward:
            assert stop
        assert len(alive) == 6
        assert [one() for one in alive] == [None] * 6


def named(blocks: Any, kind: str) -> list[tuple[str, Any]]:
    return [(f"{kind} {index}", block) for index, block in enumerate(blocks)]


def note(monkeypatch: pytest.MonkeyPatch, module: Any, call: Any) -> None:
    """Call `call` whenever the module runs, without a hook."""
    forward = module.forward

    def noting(*args: Any, **kwargs: Any) -> Any:
        call()
        return forward(*args, **kwargs)

    # The signature is what the stream reads the block's arguments by.
    noting.__wrapped__ = forward  # type: ignore[attr-defined]
    monkeypatch.setattr(module, "forward", noting)


# threads


def test_a_plain_run_in_another_thread_meanwhile_is_as_ever_and_not_observed(transformer: Any) -> None:
    """It runs inside of the observed one: after the first joint block, with the hooks in place."""
    inputs, others = flux_inputs(transformer), flux_inputs(transformer, rows=5, text=9, seed=8)
    plain, plain_other = evaluate(transformer, inputs), evaluate(transformer, others)
    alone: list[tuple[int, Tensor, Tensor]] = []
    with ConceptStream(transformer, concepts(), lambda *layer: alone.append(layer), 2):
        evaluate(transformer, inputs)
    seen: list[tuple[int, Tensor, Tensor]] = []

    def on_layer(layer: int, image: Tensor, concept: Tensor) -> None:
        seen.append((layer, image, concept))
        if threading.current_thread() is threading.main_thread() and layer < 2:
            assert torch.equal(in_a_thread(lambda: evaluate(transformer, others)), plain_other)

    with ConceptStream(transformer, concepts(), on_layer, 2):
        assert torch.equal(in_a_thread(lambda: evaluate(transformer, others)), plain_other)
        assert torch.equal(evaluate(transformer, inputs), plain)
    assert [layer for layer, _, _ in seen] == [0, 1, 2]
    for found, expected in zip(seen, alone, strict=True):
        assert torch.equal(found[1], expected[1]) and torch.equal(found[2], expected[2])


def test_a_plain_run_survives_that_the_hooks_are_removed_under_it(model: Any, inputs: dict[str, Any]) -> None:
    """torch looks up a module's hooks first, and how each is called when its turn comes."""
    plain = evaluate(model, inputs)
    begun, removed = threading.Event(), threading.Event()

    def wait(*args: Any) -> None:
        begun.set()
        assert removed.wait(10)

    handle = model.transformer_blocks[0].register_forward_pre_hook(wait)
    with ThreadPoolExecutor(1) as pool:
        with ConceptStream(model, concepts(), ignore, 2):
            running = pool.submit(evaluate, model, inputs)
            assert begun.wait(10)
        removed.set()
        assert torch.equal(running.result(timeout=20), plain)
    handle.remove()
    assert untouched(model)


def test_a_second_stream_in_another_thread_is_refused_before_anything_runs(model: Any, inputs: dict[str, Any]) -> None:
    layers: list[int] = []

    def enter() -> None:
        with ConceptStream(model, concepts(), ignore, 2):
            pytest.fail("entered")

    def on_layer(layer: int, *_: Any) -> None:
        layers.append(layer)
        with pytest.raises(UserError, match="recording concepts already"):
            in_a_thread(enter)

    with ConceptStream(model, concepts(), on_layer, 2):
        evaluate(model, inputs)
    assert layers == [0, 1, 2]
    assert untouched(model)


def test_of_streams_entered_at_once_exactly_one_enters(model: Any) -> None:
    start, done = threading.Barrier(4), threading.Barrier(4)

    def enter() -> str:
        stream = ConceptStream(model, concepts(), ignore, 2)
        start.wait(10)
        try:
            with stream:
                done.wait(10)
        except UserError:
            done.wait(10)
            return "refused"
        return "entered"

    for _ in range(20):
        with ThreadPoolExecutor(4) as pool:
            outcomes = [one.result(timeout=20) for one in [pool.submit(enter) for _ in range(4)]]
        assert sorted(outcomes) == ["entered", "refused", "refused", "refused"]
    assert untouched(model)
