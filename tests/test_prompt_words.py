"""What a prompt names."""

from __future__ import annotations

import pytest

from concept_attention.concepts import parse_concepts
from concept_attention.prompt_words import prompt_concepts


@pytest.mark.parametrize(
    ("prompt", "names"),
    [
        ("a red house and a tree on grass under the blue sky", ["red house", "tree", "grass", "blue sky"]),
        ("masterpiece, best quality, (a small dog:1.3), [rainy street]", ["small dog", "rainy street"]),
        ("A man's hat. The man's hat!", ["man's hat"]),
        ("one two three four five six", ["one", "two", "three", "four", "five", "six"]),
        ("a photo of the", []),
        ("", []),
        ("湖边的房子，雪山", ["湖边的房子", "雪山"]),
        ("half-timbered house\ncrow's nest", ["half-timbered house", "crow's nest"]),
    ],
)
def test_things_are_named_once_with_their_adjectives(prompt: str, names: list[str]) -> None:
    assert [concept.name for concept in prompt_concepts(prompt)] == names


def test_what_is_there_already_is_not_repeated() -> None:
    written = parse_concepts("Tree", "blue sky")
    assert [concept.name for concept in prompt_concepts("a tree and a house under the blue sky", written)] == ["house"]
