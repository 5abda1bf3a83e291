"""Presence on diffusers: what it is measured with, and that nothing else changes."""

from __future__ import annotations

import dataclasses
from typing import Any

import torch
from torch import Tensor

from concept_attention.concepts import Concept
from concept_attention.heatmaps.heatmaps import make_heatmaps
from concept_attention.hosts.encoded import EncodedConcepts
from concept_attention.hosts.null_words import NullWords
from concept_attention.scores import MODES

from ...support.diffusers.naive_flux import naive_flux
from ...support.diffusers.tiny_transformers import flux_inputs, make_flux
from .test_recorder import encoded, record

WORDS = ("thing", "object", "2")  # the last is a word of the third concept's text


def flux() -> tuple[Any, dict[str, Any]]:
    transformer = make_flux()
    return transformer, flux_inputs(transformer)


def with_null_words(count: int = 3, names: tuple[str, ...] = WORDS) -> EncodedConcepts:
    embeddings = torch.randn(len(names), 128, generator=torch.Generator().manual_seed(9))
    return dataclasses.replace(encoded(count), null_words=NullWords(names, embeddings))


def naive_log_odds(
    transformer: Any, inputs: dict[str, Any], concepts: EncodedConcepts, temperature: float = 1.0, l2: bool = False
) -> Tensor:
    """(L, B, C, N): every row goes through the model as the only concept there is."""
    assert concepts.null_words is not None
    rows = torch.cat([concepts.embeddings, concepts.null_words.embeddings])
    scores = []
    for row in rows:
        images, alone = naive_flux(transformer, inputs, row[None], 0)
        pairs = zip(images, alone, strict=True)
        scores.append([(image.double() @ (one / one.norm(dim=-1, keepdim=True) if l2 else one).double().mT)[..., 0]
                       for image, one in pairs])  # fmt: skip
    table = torch.stack([torch.stack(layers) for layers in scores], dim=2) / temperature  # (L, B, rows, N)
    odds = []
    for index, concept in enumerate(concepts.concepts):
        null = [len(concepts.concepts) + k for k, word in enumerate(WORDS) if word not in concept.text.split()]
        odds.append(table[:, :, index] - table[:, :, null].logsumexp(dim=2))
    return torch.stack(odds, dim=2)


def test_presence_is_the_log_odds_of_each_concept_alone_against_null_words_it_does_not_contain() -> None:
    transformer, inputs = flux()
    concepts = with_null_words()
    recording = record(transformer, inputs, concepts=concepts)
    assert recording.presence is not None and recording.presence.dtype == torch.float16
    expected = naive_log_odds(transformer, inputs, concepts)
    torch.testing.assert_close(recording.presence[0].double(), expected, atol=5e-3, rtol=2e-3)
    maps = make_heatmaps(recording, "all", kind="presence").values
    torch.testing.assert_close(maps.flatten(2).double(), expected.mean(dim=0).sigmoid(), atol=2e-3, rtol=1e-3)
    assert recording.metadata["null_words"] == "thing, object, 2"


def test_presence_is_measured_with_the_vectors_and_temperature_of_the_mode() -> None:
    transformer, inputs = flux()
    for mode in ("sd3", "flux2", "paper"):
        recording = record(transformer, inputs, concepts=with_null_words(), mode=mode)
        l2, temperature = MODES[mode].vectors == "l2", MODES[mode].temperature
        expected = naive_log_odds(transformer, inputs, with_null_words(), temperature, l2)
        assert recording.presence is not None
        torch.testing.assert_close(recording.presence[0].double(), expected, atol=5e-3, rtol=2e-3)


def test_scores_are_bit_identical_with_and_without_null_words() -> None:
    transformer, inputs = flux()
    for mode in (name for name, mode in MODES.items() if mode.reading == "concept"):
        plain = record(transformer, inputs, mode=mode)
        measured = record(transformer, inputs, concepts=with_null_words(), mode=mode)
        assert plain.presence is None and measured.presence is not None
        assert torch.equal(plain.scores, measured.scores) and torch.equal(plain.norms, measured.norms)


def test_presence_does_not_depend_on_what_else_was_asked_for() -> None:
    transformer, inputs = flux()
    several = record(transformer, inputs, concepts=with_null_words(3)).presence
    first = with_null_words(3)
    alone = dataclasses.replace(
        first, concepts=first.concepts[:1], embeddings=first.embeddings[:1], token_counts=first.token_counts[:1]
    )
    one = record(transformer, inputs, concepts=alone).presence
    assert several is not None and one is not None
    torch.testing.assert_close(several[:, :, :, :1], one, atol=5e-3, rtol=1e-3)


def test_a_concept_that_names_every_null_word_is_measured_against_all_of_them() -> None:
    words = NullWords(("boat", "tree"), torch.zeros(2, 4))
    assert words.beside([Concept("both", "a tree and a Boat"), Concept("tree", "the tree")]).tolist() == [
        [True, True],
        [True, False],
    ]
