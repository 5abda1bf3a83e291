"""Locale files: every text of every node in every language, nothing missing, nothing left over."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import pytest

from ..support.nodes.locales import FOLDER, MAIN, NODES, english_main, english_nodes, read
from .conftest import Pack

LANGUAGES = sorted(folder.name for folder in FOLDER.iterdir() if folder.is_dir())
CHINESE = re.compile("[\u4e00-\u9fff]")
# What vue-i18n reads as more than text: {placeholders}, @:links, plural | forms.
SPECIAL = re.compile(r"[{}|]|@")


def leaves(tree: dict[str, Any], path: str = "") -> Iterator[tuple[str, str]]:
    for key, value in tree.items():
        if isinstance(value, dict):
            yield from leaves(value, f"{path}/{key}")
        else:
            yield f"{path}/{key}", value


def test_there_are_english_and_chinese() -> None:
    assert {"en", "zh"} <= set(LANGUAGES)


def test_the_english_texts_are_those_of_the_nodes(pack: Pack) -> None:
    """`python -m tests.support.nodes.locales` writes them."""
    assert read("en", NODES) == english_nodes(pack.nodes)
    assert read("en", MAIN) == english_main(pack.nodes)


@pytest.mark.parametrize("language", LANGUAGES)
@pytest.mark.parametrize("name", [NODES, MAIN])
def test_every_language_has_the_same_keys_in_the_same_order(language: str, name: str) -> None:
    assert [key for key, _ in leaves(read(language, name))] == [key for key, _ in leaves(read("en", name))]


@pytest.mark.parametrize("language", LANGUAGES)
@pytest.mark.parametrize("name", [NODES, MAIN])
def test_texts_are_there_and_plain(language: str, name: str) -> None:
    for key, text in leaves(read(language, name)):
        assert isinstance(text, str) and text.strip() == text and text, key
        assert not SPECIAL.search(text), key


def test_chinese_texts_are_chinese() -> None:
    for key, text in leaves(read("zh", NODES)):
        if key.endswith(("/tooltip", "/description", "/display_name")):
            assert CHINESE.search(text), key
            assert not re.search(r"[\u4e00-\u9fff][,.;:!?]", text), key  # punctuation between characters is full-width
