"""Concept embeddings against direct calls of the text encoder."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from concept_attention.concepts import Concept, parse_concepts
from concept_attention.errors import UserError
from concept_attention.hosts.diffusers.encode import as_concepts, encode_concepts
from concept_attention.hosts.unknown_words import known_words

TOKENS = 24


def states(pipeline: Any, text: str, length: int = TOKENS) -> Tensor:
    """Hidden states (length, E) of one text alone: its words, `</s>`, pads, and no mask."""
    vocabulary = pipeline.tokenizer_2.get_vocab()
    ids = [vocabulary[word] for word in text.split()] + [vocabulary["</s>"]]
    ids += [vocabulary["<pad>"]] * (length - len(ids))
    with torch.no_grad():
        return pipeline.text_encoder_2(torch.tensor([ids]))[0][0]


@pytest.mark.parametrize(
    "pooling, expected",
    [
        ("first", lambda words: words[0]),
        ("mean", lambda words: words.sum(0) / len(words)),
        ("last", lambda words: words[-1]),
        ("auto", lambda words: words.sum(0) / len(words)),
    ],
)
def test_several_tokens_become_one_vector(random_pipeline: Any, pooling: Any, expected: Any) -> None:
    concepts = parse_concepts("car: a red car\nsky\nmoon: yellow moon")
    found = encode_concepts(random_pipeline, concepts, pooling, TOKENS)
    assert found.concepts == concepts and found.pooling == pooling
    assert found.token_counts == (3, 1, 2)
    assert found.embeddings.shape == (3, 128) and not found.embeddings.requires_grad
    for row, concept in zip(found.embeddings, concepts, strict=True):
        words = states(random_pipeline, concept.text)[: len(concept.text.split())]
        torch.testing.assert_close(row, expected(words), rtol=1e-5, atol=1e-5)


def test_poolings_differ_for_phrases_and_agree_for_words(random_pipeline: Any) -> None:
    concepts = parse_concepts("car: a red car\nsky")
    phrases, words = zip(
        *(encode_concepts(random_pipeline, concepts, p, TOKENS).embeddings for p in ("first", "mean", "last", "auto")),
        strict=True,
    )
    assert all((one - phrases[0]).abs().max() > 0.01 for one in phrases[1:3])
    assert (phrases[2] - phrases[1]).abs().max() > 0.01
    assert torch.equal(phrases[3], phrases[1])
    assert all(torch.equal(word, words[0]) for word in words)


def test_the_padding_is_read_along(random_pipeline: Any) -> None:
    """As with a prompt: another length gives another embedding, and a mask would give none of this difference."""
    short, long = (encode_concepts(random_pipeline, parse_concepts("sky"), "first", n).embeddings for n in (8, 24))
    torch.testing.assert_close(short[0], states(random_pipeline, "sky", 8)[0], rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(long[0], states(random_pipeline, "sky", 24)[0], rtol=1e-5, atol=1e-5)
    assert (short - long).abs().max() > 0.01


def test_a_concept_is_encoded_as_if_it_were_alone(random_pipeline: Any) -> None:
    one = encode_concepts(random_pipeline, parse_concepts("sky"), "auto", TOKENS).embeddings
    many = encode_concepts(random_pipeline, parse_concepts("moon, sky, boat"), "auto", TOKENS).embeddings
    torch.testing.assert_close(many[1:2], one, rtol=1e-5, atol=1e-5)


def test_unknown_words_are_refused_with_those_that_are_known(random_pipeline: Any) -> None:
    concepts = parse_concepts("sky\ncastle: a grey castle")
    expected = r'^The text encoder does not know every word in "a grey castle"\. It knows: '
    with pytest.raises(UserError, match=expected) as e:
        encode_concepts(random_pipeline, concepts, "auto", TOKENS)
    listed = str(e.value).partition("It knows: ")[2].removesuffix(".").split(", ")
    assert {"house", "sky", "red", "a"} <= set(listed)
    assert listed == sorted(listed) and not {"<pad>", "</s>", "<unk>", ","} & set(listed)
    assert "\n" not in str(e.value)


def test_the_words_of_a_real_tokenizer_are_not_listed() -> None:
    class Pieces:
        """Knows every ASCII character."""

        unk_token_id = 2

        def get_vocab(self) -> dict[str, int]:
            return {f"piece{n}": n for n in range(32000)}

        def __call__(self, text: str) -> dict[str, list[int]]:
            return {"input_ids": [3 if one.isascii() else 2 for one in text]}

    assert known_words(Pieces(), "猫 on 猫 草") == 'Use other characters than "猫" (U+732B), "草" (U+8349).'
    assert known_words(Pieces(), "一二三四五六").endswith(', "五" (U+4E94) and others.')
    assert known_words(Pieces(), "all is known") == "Rephrase it."


@pytest.mark.parametrize(
    "given, expected",
    [
        ("house, sky: blue sky", [("house", "house"), ("sky", "blue sky")]),
        (["house", "sky: blue sky"], [("house", "house"), ("sky", "blue sky")]),
        (("red, house",), [("red, house", "red, house")]),
        ([Concept("house", "a house"), "sky"], [("house", "a house"), ("sky", "sky")]),
        (Concept("house", "a house"), [("house", "a house")]),
    ],
)
def test_concepts_may_be_given_as_they_are_written(given: Any, expected: list[tuple[str, str]]) -> None:
    assert [(concept.name, concept.text) for concept in as_concepts(given)] == expected


@pytest.mark.parametrize(
    "given, message",
    [
        ([], r"^There are no concepts"),
        ("", r"^There are no concepts"),
        ([""], r"empty concept"),
        (["sky", 3], r"^A concept is a text, or comes from `parse_concepts`; got int\.$"),
        (None, r"^A concept is a text, or comes from `parse_concepts`; got NoneType\.$"),
        (["sky", Concept("Sky", "blue")], r'^Concept "Sky" is given twice\. Use every name once\.$'),
    ],
)
def test_what_is_no_list_of_concepts_is_refused(given: Any, message: str) -> None:
    with pytest.raises(UserError, match=message):
        as_concepts(given)


def test_texts_are_encoded_as_the_concepts_of_these_texts(random_pipeline: Any) -> None:
    written = encode_concepts(random_pipeline, ["sky", "car: a red car"], "auto", TOKENS)
    parsed = encode_concepts(random_pipeline, parse_concepts("sky\ncar: a red car"), "auto", TOKENS)
    assert written.concepts == parsed.concepts and torch.equal(written.embeddings, parsed.embeddings)


def test_a_pipeline_without_text_encoder_is_refused(random_pipeline: Any) -> None:
    from diffusers import FluxPipeline

    parts = {**random_pipeline.components, "text_encoder_2": None}
    with pytest.raises(UserError, match=r"^This FluxPipeline has no text encoder for concepts: it was loaded without"):
        encode_concepts(FluxPipeline(**parts), parse_concepts("sky"), "auto", TOKENS)


@pytest.mark.parametrize("words, fits", [(7, True), (8, False), (30, False)])
def test_a_text_that_would_be_cut_is_refused(random_pipeline: Any, words: int, fits: bool) -> None:
    concepts = [Concept("much", " ".join(["red"] * words))]
    if fits:
        assert encode_concepts(random_pipeline, concepts, "last", 8).token_counts == (words,)
        return
    with pytest.raises(UserError, match=rf'^Concept "much" has {words} tokens, expected 1 to 7\. Rephrase'):
        encode_concepts(random_pipeline, concepts, "last", 8)


def test_an_unknown_pooling_is_refused(random_pipeline: Any) -> None:
    with pytest.raises(UserError, match="^Pooling 'max' does not exist. Choose one of auto, first, mean, last.$"):
        encode_concepts(random_pipeline, parse_concepts("sky"), "max", TOKENS)  # type: ignore[arg-type]
