"""Compiled transformers: recorded runs are those of the uncompiled one, and it is compiled again afterwards."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch

from concept_attention.concepts import parse_concepts
from concept_attention.hosts.diffusers.adapters import adapter_for
from concept_attention.hosts.diffusers.analysis import analyze
from concept_attention.hosts.diffusers.eager import eager
from concept_attention.hosts.diffusers.generation import generate

from ...support.diffusers.hooks import HOOK_DICTS
from ...support.diffusers.tiny_transformers import make_flux

OPTIONS: dict[str, Any] = {"width": 64, "height": 48, "max_tokens": 12}
BACKEND = "aot_eager"


def whole(pipeline: Any) -> None:
    pipeline.transformer = torch.compile(pipeline.transformer, backend=BACKEND)


def in_place(pipeline: Any) -> None:
    pipeline.transformer.compile(backend=BACKEND)


def blocks_in_place(pipeline: Any) -> None:
    pipeline.transformer.compile_repeated_blocks(backend=BACKEND)


def blocks(pipeline: Any) -> None:
    found = pipeline.transformer.transformer_blocks
    for index, block in enumerate(list(found)):
        found[index] = torch.compile(block, backend=BACKEND)


def forward(pipeline: Any) -> None:
    pipeline.transformer.forward = torch.compile(pipeline.transformer.forward, backend=BACKEND)


@pytest.fixture(params=[whole, in_place, blocks_in_place, blocks, forward], ids=lambda way: way.__name__)
def compiling(request: pytest.FixtureRequest) -> Iterator[Callable[[Any], None]]:
    yield request.param
    torch.compiler.reset()


def state(transformer: Any) -> Any:
    """What a recorded run could change on a transformer."""
    return [
        (id(one), one._compiled_call_impl, vars(one).get("forward"), *(len(getattr(one, name)) for name in HOOK_DICTS))
        for one in transformer.modules()
    ]


def test_a_compiled_pipeline_records_what_it_records_uncompiled(
    schnell: Any, compiling: Callable[[Any], None], caplog: pytest.LogCaptureFixture
) -> None:
    """After compiled runs, which leave graphs behind, and with other concepts the second time."""
    first, second = parse_concepts("house, tree"), parse_concepts("sky, grass, sun")
    expected = [generate(schnell, "a red house", concepts, steps=2, **OPTIONS) for concepts in (first, second)]
    image = expected[0].images[0]
    analyzed = analyze(schnell, image, first, width=64, max_tokens=12)
    compiling(schnell)
    call = {"width": 64, "height": 48, "num_inference_steps": 1, "max_sequence_length": 12}
    schnell("a red house", **call)
    compiled, before = schnell.transformer, state(eager(schnell.transformer))
    with caplog.at_level(logging.WARNING, "concept_attention"):
        for concepts, alone in zip((first, second), expected, strict=True):
            found = generate(schnell, "a red house", concepts, steps=2, **OPTIONS)
            assert torch.equal(found.recording.scores, alone.recording.scores)
            assert found.images[0].tobytes() == alone.images[0].tobytes()
    assert torch.equal(analyze(schnell, image, first, width=64, max_tokens=12).scores, analyzed.scores)
    assert schnell.transformer is compiled and state(eager(compiled)) == before
    said = [one.getMessage() for one in caplog.records if one.name == "concept_attention"]  # torch says more
    assert len(said) == 3 and all("runs without torch.compile while concepts are recorded" in one for one in said)
    schnell("a red house", **call)


def test_a_compiled_transformer_is_of_its_family() -> None:
    transformer = make_flux()
    compiled = torch.compile(transformer, backend=BACKEND)
    assert eager(compiled) is transformer and eager(transformer) is transformer
    assert adapter_for(compiled) is adapter_for(transformer)


@pytest.mark.parametrize("error", [KeyboardInterrupt, RuntimeError])
def test_an_interrupted_run_leaves_the_transformer_compiled(
    schnell: Any, compiling: Callable[[Any], None], error: type[BaseException]
) -> None:
    compiling(schnell)
    compiled, before = schnell.transformer, state(eager(schnell.transformer))

    def stop(*_: Any) -> None:
        raise error

    with pytest.raises(error):
        generate(schnell, "a red house", parse_concepts("house, tree"), steps=2, on_step=stop, **OPTIONS)
    assert schnell.transformer is compiled and state(eager(compiled)) == before
