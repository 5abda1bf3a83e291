"""README lists the models that the tiny architectures stand for."""

from __future__ import annotations

import pytest

from ....support.comfyui.architectures.matrix import COMMAND, KNOWN, README, matrix, on_diffusers, rows, written
from ....support.comfyui.architectures.usage import USED, recorded


def test_readme_lists_every_architecture() -> None:
    """A model that the ComfyUI at hand lacks keeps the row that is there."""
    pytest.importorskip("diffusers")
    names = [tiny.name for tiny in rows()]
    assert names == [name for name in KNOWN if name in names], "KNOWN in matrix.py names other models than the table"
    if len(names) < len(KNOWN):
        pytest.skip("this ComfyUI lacks the tiny models of some architectures")
    text = README.read_text(encoding="utf-8")
    assert text == written(text, matrix()), f"README.md lists other models than the table: run `{COMMAND}`"


def test_what_counts_as_used_is_in_the_table() -> None:
    named = [name for used in USED for name in used.rows]
    assert len(set(named)) == len(named) and set(named) <= set(KNOWN)
    assert all(used.rows or used.why for used in USED) and sum(used.share for used in USED) <= 100


def test_most_of_what_people_run_is_recorded() -> None:
    pytest.importorskip("diffusers")
    newer = [used for used in USED if used.diffusers]
    assert all(on_diffusers(used.diffusers) for used in newer)  # they have adapters
    assert recorded(anywhere=False) >= 95 and recorded(anywhere=True) >= 97


def test_what_stands_around_the_list_is_kept() -> None:
    text = README.read_text(encoding="utf-8")
    other = written(text, "| a table |")
    assert other != text and "| a table |" in other
    assert written(other, "| another |") == written(text, "| another |")
