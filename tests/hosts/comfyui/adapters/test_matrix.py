"""README lists the models that the tiny architectures stand for."""

from __future__ import annotations

import pytest

from concept_attention.hosts.comfyui.adapters.registry import ADAPTERS, FAMILIES

from ....support.comfyui.architectures.catalogue import TINY_ARCHITECTURES
from ....support.comfyui.architectures.matrix import COMMAND, KNOWN, README, matrix, written


def test_readme_lists_every_architecture() -> None:
    pytest.importorskip("diffusers")
    if len(ADAPTERS) < len(FAMILIES) or not all(tiny.in_host for tiny in TINY_ARCHITECTURES):
        pytest.skip("this ComfyUI lacks some architectures")
    text = README.read_text(encoding="utf-8")
    assert text == written(text, matrix()), f"README.md lists other models than the table: run `{COMMAND}`"
    assert list(KNOWN) == [tiny.name for tiny in TINY_ARCHITECTURES], (
        "KNOWN in matrix.py names other models than the table"
    )


def test_what_stands_around_the_list_is_kept() -> None:
    text = README.read_text(encoding="utf-8")
    other = written(text, "| a table |")
    assert other != text and "| a table |" in other
    assert written(other, "| another |") == written(text, "| another |")
