"""README lists the models that the tiny architectures stand for."""

from __future__ import annotations

import pytest

from concept_attention.hosts.comfyui.adapters.registry import ADAPTERS, CROSS_ADAPTERS, CROSS_FAMILIES, FAMILIES

from ....support.comfyui.architectures.matrix import COMMAND, KNOWN, README, matrix, on_diffusers, rows, written
from ....support.comfyui.architectures.usage import USED, recorded


def test_readme_lists_every_architecture() -> None:
    pytest.importorskip("diffusers")
    complete = len(ADAPTERS) == len(FAMILIES) and len(CROSS_ADAPTERS) == len(CROSS_FAMILIES)
    if not complete or not all(tiny.in_host for tiny in rows()):
        pytest.skip("this ComfyUI lacks some architectures")
    text = README.read_text(encoding="utf-8")
    assert text == written(text, matrix()), f"README.md lists other models than the table: run `{COMMAND}`"
    assert list(KNOWN) == [tiny.name for tiny in rows()], "KNOWN in matrix.py names other models than the table"


def test_what_counts_as_used_is_in_the_table() -> None:
    named = [name for used in USED for name in used.rows]
    assert len(set(named)) == len(named) and set(named) <= set(KNOWN)
    assert all(used.rows or used.why for used in USED) and sum(used.share for used in USED) <= 100


def test_most_of_what_people_run_is_recorded_in_one_of_the_hosts() -> None:
    pytest.importorskip("diffusers")
    newer = [used for used in USED if used.diffusers]
    assert {on_diffusers(used.diffusers).reading for used in newer} == {"concept", "cross"}  # they have adapters
    assert recorded(anywhere=False) == pytest.approx(79.9)
    assert recorded(anywhere=True) >= 95


def test_what_stands_around_the_list_is_kept() -> None:
    text = README.read_text(encoding="utf-8")
    other = written(text, "| a table |")
    assert other != text and "| a table |" in other
    assert written(other, "| another |") == written(text, "| another |")
