"""Models whose blocks or `forward` somebody has replaced: recorded rightly, or refused by name before anything runs."""

from __future__ import annotations

import logging
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from concept_attention.concepts import parse_concepts
from concept_attention.errors import UserError
from concept_attention.hosts.diffusers import analyze, generate
from concept_attention.hosts.diffusers.adapters import adapter_for
from concept_attention.hosts.diffusers.recorder import Recorder
from concept_attention.hosts.diffusers.registry import family_of
from concept_attention.hosts.diffusers.stream import ConceptStream
from concept_attention.hosts.encoded import EncodedConcepts

from ...support.diffusers.families import FAMILIES, Family
from ...support.diffusers.hooks import untouched
from ...support.diffusers.tiny_transformers import TEXT_WIDTH

CONCEPTS = torch.randn(2, TEXT_WIDTH, generator=torch.Generator().manual_seed(2))


@pytest.fixture(params=["Flux.1 schnell", "Flux.2 dev", "SD3.5 large", "CogVideoX 5B"])
def family(request: pytest.FixtureRequest) -> Family:
    return FAMILIES[request.param]


class Wrapper(nn.Module):
    """Passes everything on."""

    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self.inner = inner

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        return self.inner(*args, **kwargs)


class Gone(nn.Module):
    """A block that does nothing."""

    def forward(self, hidden_states: Tensor, encoder_hidden_states: Tensor, *args: Any, **kwargs: Any) -> Any:
        return encoder_hidden_states, hidden_states


def passing_on(module: nn.Module) -> None:
    """A class above it takes whatever comes."""

    class Passing(type(module)):  # type: ignore[misc]
        def forward(self, *args: Any, **kwargs: Any) -> Any:
            return super().forward(*args, **kwargs)

    module.__class__ = Passing


def wrap_forward(module: Any) -> None:
    forward = module.forward
    module.forward = lambda *args, **kwargs: forward(*args, **kwargs)


def wrap_block(transformer: Any) -> None:
    transformer.transformer_blocks[1] = Wrapper(Wrapper(transformer.transformer_blocks[1]))


CHANGES: dict[str, Callable[[Any], None]] = {
    "a wrapped block": wrap_block,
    "a block of a class that passes on": lambda transformer: passing_on(transformer.transformer_blocks[1]),
    "a block's wrapped forward": lambda transformer: wrap_forward(transformer.transformer_blocks[1]),
    "a wrapped forward": wrap_forward,
    "a class that passes on": passing_on,
}


def outputs(transformer: Any, inputs: Any) -> list[Tensor]:
    seen: list[Tensor] = []

    def keep(layer: int, image: Tensor, concept: Tensor) -> None:
        seen.extend((image.clone(), concept.clone()))

    with ConceptStream(transformer, CONCEPTS, keep, 2), torch.no_grad():
        seen.append(transformer(**inputs)[0])
    return seen


@pytest.mark.parametrize("change", CHANGES)
def test_what_only_passes_on_is_recorded_as_before(family: Family, change: str) -> None:
    transformer = family.make()
    inputs = family.inputs(transformer, 1, 2, 3)
    plain = outputs(transformer, inputs)
    CHANGES[change](transformer)
    before = untouched(transformer)  # not where `forward` is another
    changed = outputs(transformer, inputs)
    assert len(changed) == 7 and all(map(torch.equal, changed, plain))
    assert untouched(transformer) == before


def test_a_block_that_is_none_is_refused_by_name_before_anything_runs(family: Family) -> None:
    transformer = family.make()
    transformer.transformer_blocks[1] = Gone()
    with pytest.raises(UserError, match=r"^Joint block 1 of this \w+ is a Gone whose attention cannot be observed"):
        outputs(transformer, {})
    assert untouched(transformer)
    with ConceptStream(transformer, CONCEPTS, lambda *_: None, 0):  # the blocks before it are as they were
        pass


def test_a_wrapped_attention_is_refused_by_name(family: Family) -> None:
    transformer = family.make()
    block = transformer.transformer_blocks[2]
    name = "attn1" if hasattr(block, "attn1") else "attn"
    setattr(block, name, Wrapper(getattr(block, name)))
    with pytest.raises(UserError, match=r"^Joint block 2 .* has replaced it or its parts"):
        outputs(transformer, {})
    assert untouched(transformer)


def test_a_wrapped_transformer_is_refused_before_anything_else(schnell: Any) -> None:
    schnell.transformer = Wrapper(schnell.transformer)
    for call in (lambda: generate(schnell, "a house", ["house"]), lambda: analyze(schnell, "no.png", ["house"])):
        with pytest.raises(UserError, match=r"^Wrapper is not supported"):
            call()
    with pytest.raises(UserError, match=r"^Wrapper is not supported"):
        family_of(schnell)


@pytest.mark.parametrize(
    "method", ["image_heads", "rotate_image", "project_concepts", "attend_concepts", "update_concepts"]
)
def test_where_looking_fails_the_run_goes_on_and_the_reason_is_said(
    family: Family, method: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    transformer = family.make()
    inputs = family.inputs(transformer, 1, 2, 3)
    with torch.no_grad():
        plain = transformer(**inputs)[0]

    def fail(*args: Any, **kwargs: Any) -> None:
        raise KeyError("temb")

    monkeypatch.setattr(adapter_for(transformer), method, fail)
    encoded = EncodedConcepts(parse_concepts("one, two"), CONCEPTS, (1, 1), "first")
    recorder = Recorder(SimpleNamespace(transformer=transformer), encoded, "all", "flux", family.frames * 6)
    with caplog.at_level(logging.WARNING, "concept_attention"), recorder.watching(), torch.no_grad():
        assert torch.equal(transformer(**inputs)[0], plain)
        recorder.commit(0, 1.0)
    assert "sampling goes on" in caplog.text
    with pytest.raises(UserError, match=r"^Nothing was recorded: recording failed with KeyError: 'temb'"):
        recorder.build((family.frames, 2, 3), (32, 48), {})
    assert untouched(transformer)


def test_running_out_of_memory_is_an_error_as_ever(schnell: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*args: Any, **kwargs: Any) -> None:
        raise torch.cuda.OutOfMemoryError

    monkeypatch.setattr(adapter_for(schnell.transformer), "attend_concepts", fail)
    with pytest.raises(torch.cuda.OutOfMemoryError):
        generate(schnell, "a house", ["house"], width=64, height=64, steps=1)
    assert untouched(schnell.transformer)
