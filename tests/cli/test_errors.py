"""Which exceptions the command line shows as one line, and which keep their traceback."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import FunctionType
from typing import Any

import pytest
import torch

from concept_attention.errors import UserError

Raise = Callable[[Exception], None]


@pytest.fixture
def sampler_raises(random_pipeline: Any, monkeypatch: pytest.MonkeyPatch) -> Raise:
    """Make every sampler step raise an exception."""

    def set_error(error: Exception) -> None:
        def step(*_: Any, **__: Any) -> None:
            raise error

        monkeypatch.setattr(random_pipeline.scheduler, "step", step)

    return set_error


def test_a_user_error_is_one_line(run: Any, arguments: list[Any], sampler_raises: Raise) -> None:
    sampler_raises(UserError("Expected a house,\ngot a tree."))
    output = run(*arguments, "--out", "out", "--quiet")
    assert (output.code, output.out, output.err) == (2, "", "error: Expected a house, got a tree.\n")
    assert not Path("out").exists()


@pytest.mark.parametrize("error", [RuntimeError("a bug"), ValueError("a bug"), ZeroDivisionError()])
def test_any_other_exception_keeps_its_traceback(
    run: Any, arguments: list[Any], sampler_raises: Raise, error: Exception
) -> None:
    sampler_raises(error)
    with pytest.raises(type(error)):
        run(*arguments, "--out", "out")
    assert not Path("out").exists()


@pytest.mark.parametrize("bug", [lambda *_: list(zip([1, 2], [1], strict=True)), lambda *_: int("x1")])
def test_a_value_error_raised_in_this_package_is_a_bug_too(
    run: Any, arguments: list[Any], monkeypatch: pytest.MonkeyPatch, bug: FunctionType
) -> None:
    in_package = FunctionType(bug.__code__, {"__name__": "concept_attention.hosts.diffusers.loading"})
    monkeypatch.setattr("concept_attention.cli.model.load_pipeline", in_package)
    with pytest.raises(ValueError):
        run(*arguments, "--out", "out")
    assert not Path("out").exists()


@pytest.mark.parametrize(
    "error", [torch.OutOfMemoryError("CUDA out of memory"), RuntimeError("can't allocate memory"), MemoryError()]
)
def test_too_little_memory_is_one_line_with_advice(
    run: Any, arguments: list[Any], sampler_raises: Raise, error: Exception
) -> None:
    sampler_raises(error)
    output = run(*arguments, "--out", "out", "--quiet")
    assert output.code == 1 and output.err.count("\n") == 1 and "--offload" in output.err


def test_a_missing_package_is_one_line_with_advice(
    run: Any, arguments: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    def missing(*_: Any) -> None:
        raise ModuleNotFoundError("No module named 'accelerate'", name="accelerate")

    monkeypatch.setattr("concept_attention.cli.model.load_pipeline", missing)
    output = run(*arguments, "--out", "out", "--quiet")
    assert output.code == 2 and "standalone" in output.err and output.err.count("\n") == 1


def test_a_full_disk_is_one_line(run: Any, arguments: list[Any], monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: Any) -> None:
        raise OSError(28, "No space left on device", "image.png")

    monkeypatch.setattr("concept_attention.cli.output.save_image", full)
    output = run(*arguments, "--out", "out", "--quiet")
    assert output.code == 2 and output.err == "error: image.png: No space left on device\n" and not Path("out").exists()
