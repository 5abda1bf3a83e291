"""The readings `cross` and `gram` in joint blocks, where concepts ride as well."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from contextlib import contextmanager
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from concept_attention.concepts import parse_concepts
from concept_attention.hosts.diffusers.generation import generate
from concept_attention.hosts.diffusers.loading import load_pipeline
from concept_attention.hosts.diffusers.record import record
from concept_attention.hosts.diffusers.stream import ConceptStream
from concept_attention.text_attention import cross_scores, gram_scores

from ...support.diffusers.families import FAMILIES
from ...support.diffusers.hooks import untouched
from ...support.diffusers.own_blocks.catalogue import OWN_BLOCKS
from ...support.diffusers.tiny_transformers import TEXT_WIDTH
from ...support.numbers import relative_error

CLOSE = 1e-5
ROWS, COLUMNS = 2, 4


@pytest.fixture(scope="module", params=[*FAMILIES, *OWN_BLOCKS])
def family(request: pytest.FixtureRequest) -> Any:
    """The family, with one transformer for all tests of it."""
    found: Any = {**FAMILIES, **OWN_BLOCKS}[request.param]
    transformer = found.make()
    return dataclasses.replace(found, make=lambda: transformer)


def embeddings(count: int = 3) -> Tensor:
    return torch.randn(count, TEXT_WIDTH, generator=torch.Generator().manual_seed(2))


def run(family: Any, inputs: dict[str, Any], concepts: Tensor) -> Any:
    """One evaluation with concepts; per layer the scores of both readings, and what they were made of."""
    seen: list[Any] = []
    problems: list[str] = []
    grids: list[Any] = []

    def on_text(layer: int, attention: Any, grid: Any) -> None:
        seen.append(SimpleNamespace(cross=cross_scores(attention), gram=gram_scores(attention, grid[0]), of=attention))
        grids.append(grid)

    stream = ConceptStream(family.make(), concepts, lambda *_: None, 2, on_problem=problems.append, on_text=on_text)
    with stream, torch.no_grad():
        output = family.make()(**inputs)[0]
    assert not problems and len(seen) == 3
    return SimpleNamespace(layers=seen, output=output, grid=grids[0])


def same(one: Any, other: Any) -> bool:
    return all(map(torch.equal, one, other)) if isinstance(one, list) else torch.equal(one, other)


def test_scores_follow_from_the_model_s_own_attention(family: Any) -> None:
    """Of the first row: what the image pays to the prompt is what the block's own attention pays, without the image."""
    transformer = family.make()
    inputs = family.inputs(transformer, 1, ROWS, COLUMNS)
    with attended() as calls, torch.no_grad():
        plain = transformer(**inputs)[0]
    ours = run(family, inputs, embeddings())
    assert same(ours.output, plain) and untouched(transformer)
    assert ours.grid == (family.frames, ROWS, COLUMNS)
    for layer in ours.layers:
        query, keys, out, prompt = layer.of.image_q[0], layer.of.text_k[0], layer.of.image_out[0], layer.of.concept_k
        call = next(one for one in calls if holds(one, query, keys))
        # The image's tokens and the prompt's are different ones of the same call; padding may be the same token often.
        places = [position(call.query, token) for token in query.transpose(0, 1)]
        words = [position(call.key, token) for token in keys.transpose(0, 1)]
        assert len(set(places)) == len(places) and not {*places} & {*words}
        assert torch.allclose(out, call.out[:, places].transpose(0, 1).flatten(1), atol=1e-6)
        logits = query @ keys.mT * call.scale
        mask = call.mask
        if mask is not None:
            mask = mask[0].expand(query.shape[0], call.query.shape[1], -1)[:, places][:, :, words]
            logits = logits.masked_fill(~mask, -torch.inf) if mask.dtype == torch.bool else logits + mask
        own = query @ prompt[0].mT * call.scale
        expected = (own - logits.logsumexp(-1, keepdim=True)).exp().mean(0).T
        assert relative_error(layer.cross[0].exp(), expected) < CLOSE


def test_permuting_concepts_permutes_their_maps(family: Any) -> None:
    inputs, order = family.inputs(family.make(), 2, ROWS, COLUMNS), [2, 0, 1]
    usual, permuted = (run(family, inputs, embeddings()[rows]) for rows in (slice(None), order))
    for one, other in zip(usual.layers, permuted.layers, strict=True):
        assert relative_error(other.cross, one.cross[:, order]) < CLOSE
        assert relative_error(other.gram, one.gram[:, order]) < CLOSE


@contextmanager
def attended() -> Iterator[list[Any]]:
    """Torch's attention calls meanwhile, of their first row."""
    calls: list[Any] = []
    attend = functional.scaled_dot_product_attention

    def spied(query: Tensor, key: Tensor, value: Tensor, *rest: Any, **options: Any) -> Tensor:
        out = attend(query, key, value, *rest, **options)
        mask = options.get("attn_mask", rest[0] if rest else None)
        scale = options.get("scale") or query.shape[-1] ** -0.5
        parts = (part[0].clone() for part in (query, key, out))
        calls.append(SimpleNamespace(**dict(zip(("query", "key", "out"), parts, strict=True)), mask=mask, scale=scale))
        return out

    functional.scaled_dot_product_attention = spied
    try:
        yield calls
    finally:
        functional.scaled_dot_product_attention = attend


def position(tokens: Tensor, token: Tensor) -> int:
    """Where a token (heads, head_dim) is among others, (heads, tokens, head_dim); of fewer heads, each for several."""
    tokens = tokens.repeat_interleave(len(token) // len(tokens), dim=0)
    distance = (tokens - token[:, None]).abs().amax((0, 2))
    assert distance.min() < 1e-6
    return int(distance.argmin())


def holds(call: Any, query: Tensor, keys: Tensor) -> bool:
    try:
        return position(call.query, query[:, 0]) >= 0 and position(call.key, keys[:, 0]) >= 0
    except (AssertionError, RuntimeError):  # another layer's, or of other heads
        return False


@pytest.mark.parametrize("mode", ["cross", "gram"])
def test_a_run_is_recorded_in_another_reading(mode: str) -> None:
    pipeline = load_pipeline("tiny", device="cpu")
    pipeline.set_progress_bar_config(disable=True)
    options: dict[str, Any] = {"width": 64, "height": 48, "steps": 2, "seed": 3}
    plain, read = (
        generate(pipeline, "a red house", parse_concepts("house, sky"), mode=one, **options) for one in ("auto", mode)
    )
    assert plain.images[0].tobytes() == read.images[0].tobytes()
    recording = read.recording
    assert (recording.reading, recording.mode, recording.presence) == (mode, mode, None)
    assert recording.scores.shape == (2, 4, 1, 2, 12) and recording.scores.std(-1).min() > 0
    with record(pipeline, ["house"], mode=mode) as other:
        pipeline("a red house", width=64, height=48, num_inference_steps=1, output_type="latent")
    assert other.reading == mode
