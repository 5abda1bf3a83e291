"""The readings `cross` and `gram` in joint blocks, where concepts ride as well."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any
from unittest import mock

import comfy.ldm.flux.math
import pytest
import torch
from torch import Tensor

from concept_attention.concepts import parse_concepts
from concept_attention.hosts.architecture import TokenSlices
from concept_attention.hosts.comfyui.engine.settings import Settings
from concept_attention.hosts.encoded import EncodedConcepts
from concept_attention.hosts.joint_text import joint_text_attention

from ....support.comfyui.recording_spy import footprint, recording_of, sample_and_record
from ....support.comfyui.tiny import make_cond, make_flux, sample
from ....support.numbers import relative_error

TEXT = 7


@pytest.fixture
def calls() -> Iterator[list[tuple[Tensor, Tensor, Tensor]]]:
    """Queries, keys and output of every attention call of a Flux."""
    found: list[tuple[Tensor, Tensor, Tensor]] = []
    attention = comfy.ldm.flux.math.optimized_attention

    def spied(q: Tensor, k: Tensor, v: Tensor, heads: int, **options: Any) -> Tensor:
        output: Tensor = attention(q, k, v, heads, **options)
        found.append((q.clone(), k.clone(), output.clone()))
        return output

    with mock.patch.object(comfy.ldm.flux.math, "optimized_attention", spied):
        yield found


def prompt() -> Any:
    """Without pooled text, with which concepts are not modulated."""
    (text, options), *_ = make_cond(TEXT)
    return [[text, {**options, "pooled_output": torch.zeros_like(options["pooled_output"])}]]


def words_of(cond: Any) -> EncodedConcepts:
    """Every token of a prompt as a concept."""
    states = cond[0][0][0]
    return EncodedConcepts(parse_concepts([f"thing {n}" for n in range(TEXT)]), states, (1,) * TEXT, "first")


def test_words_of_the_prompt_get_their_part_of_the_attention_to_the_text(calls: Any) -> None:
    """In the first block, before concepts and prompt have seen different things."""
    recording = recording_of(make_flux(heads=2), Settings(words_of(prompt()), mode="cross"), positive=prompt(), steps=1)
    query, key, _ = calls[0]
    logits = query[:, :, TEXT:] @ key[:, :, :TEXT].transpose(-1, -2) / query.shape[-1] ** 0.5
    expected = torch.softmax(logits, dim=-1).mean(1).transpose(1, 2)
    assert (recording.reading, recording.mode) == ("cross", "cross")
    assert relative_error(recording.scores[0, 0].exp(), expected) < 1e-5


def test_gram_finds_what_is_like_the_token_that_answers_best(calls: Any) -> None:
    recording = recording_of(make_flux(heads=2), Settings(words_of(prompt()), mode="gram"), positive=prompt(), steps=1)
    query, key, output = calls[0]
    values = output[0, TEXT:].unflatten(-1, (2, -1))
    expected = torch.zeros(TEXT, len(values))
    for word in range(TEXT):
        for head in range(2):
            anchor = values[int((query[0, head, TEXT:] @ key[0, head, word]).argmax()), head]
            expected[word] += torch.cosine_similarity(values[:, head], anchor[None], dim=-1) / 2
    assert relative_error(recording.scores[0, 0, 0], expected) < 1e-5


@pytest.mark.parametrize("mode", ["cross", "gram"])
def test_latents_are_bit_identical_and_nothing_is_left_behind(mode: str) -> None:
    model = make_flux(guidance=True)
    plain = sample(model, cfg=4.0)
    before = footprint(model)
    observed, result = sample_and_record(model, Settings(words_of(make_cond(TEXT)), mode=mode), cfg=4.0)
    assert torch.equal(observed, plain) and footprint(model) == before
    assert result.recording is not None and "troubles" not in result.recording.metadata


def test_masks_of_all_shapes_hide_the_same_text() -> None:
    generator = torch.Generator().manual_seed(0)
    query, key = torch.randn(2, 2, 2, 6, 4, generator=generator)
    slices = TokenSlices(slice(3, 6))
    seen = torch.ones(2, 6, dtype=torch.bool)
    seen[:, 1] = False
    added = torch.zeros(2, 6).masked_fill(~seen, -torch.inf)
    masks = [seen, seen[:, None], seen[:, None, None], added, added[:, None, None].expand(-1, 2, 6, -1)]
    for mask in masks:
        bias = joint_text_attention(query, key, mask, slices, slice(1, 2), key[1:, :, :1]).text_bias
        assert bias is not None
        assert torch.equal(bias.expand(1, 2, 3, 3)[0, 0, 0], torch.tensor([0.0, -torch.inf, 0.0]))


def test_shared_keys_are_repeated_for_every_head() -> None:
    query, key = torch.randn(1, 4, 6, 8), torch.randn(1, 2, 6, 8)
    found = joint_text_attention(query, key, None, TokenSlices(slice(2, 6), slice(2, 5)), slice(None), key[:, :, :1])
    assert found.image_q.shape[2] == 3 and found.text_k.shape[2] == 2
    assert torch.equal(found.text_k[:, 1], key[:, 0, :2]) and torch.equal(found.concept_k[:, 2], key[:, 1, :1])
