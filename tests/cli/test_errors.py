"""Which exceptions the command line shows as one line, and which keep their traceback."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from types import FunctionType
from typing import Any

import pytest
import torch
from safetensors import SafetensorError

from concept_attention.errors import UserError
from concept_attention.recording.file import save_recording

from ..support.recordings import small_recording

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


NAME = "n" * 300
PATHS = [
    (["--out", "~nobody-of-this-name/x"], "Cannot write to the folder ~nobody-of-this-name/x"),
    (["--out", "a\0b"], "must be a path, got 'a\\x00b', which has a null character"),
    (["--out", NAME], "File name too long. Choose another."),
    (["--out", f"{NAME}/x"], "File name too long. Choose another."),
]


@pytest.mark.parametrize(("given", "words"), PATHS, ids=["home of nobody", "null", "long name", "long folder"])
def test_a_folder_that_cannot_be_is_one_line(run: Any, arguments: list[Any], given: list[str], words: str) -> None:
    output = run(*arguments, *given, "--quiet")
    assert (output.code, output.out, output.err.count("\n")) == (2, "", 1)
    assert words in output.err


@pytest.mark.parametrize("name", [NAME, "a\0b", "missing", "."], ids=["long", "null", "missing", "folder"])
@pytest.mark.parametrize(
    "command",
    [["heatmaps", "{}"], ["analyze", "{}", "--concepts", "sky"], ["heatmaps", "r.safetensors", "--image", "{}"]],
)
def test_a_file_that_cannot_be_is_one_line(run: Any, tmp_path: Path, command: list[str], name: str) -> None:
    save_recording(small_recording(scores=torch.zeros(2, 2, 1, 3, 6), norms=torch.ones(2, 2, 1, 3)), "r.safetensors")
    output = run(*[part.format(name) for part in command], "--out", "out", "--quiet")
    assert (output.code, output.out, output.err.count("\n")) == (2, "", 1), output.err
    assert not (tmp_path / "out").exists()


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="pipes of POSIX")
def test_a_pipe_is_refused_at_once(run: Any, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    for command in (["heatmaps", "pipe"], ["analyze", "pipe", "--concepts", "sky"]):
        output = run(*command, "--out", "out", "--quiet")
        assert (output.code, output.err.count("\n")) == (2, 1) and "pipe" in output.err


@pytest.mark.skipif(os.name == "nt", reason="limits of POSIX")
def test_a_disk_that_is_full_is_one_line_that_names_the_file(run: Any, arguments: list[Any]) -> None:
    import resource

    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100, before[1]))
    try:
        output = run(*arguments, "--out", "out", "--quiet")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert output.code == 2 and output.err.endswith("heatmap_house.png: File too large\n")
    assert output.err.count("\n") == 1 and not Path("out").exists()


def test_a_recording_that_cannot_be_written_is_one_line(
    run: Any, arguments: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: Any, **__: Any) -> None:
        raise SafetensorError("Error while serializing: I/O error: No space left on device (os error 28)")

    monkeypatch.setattr("concept_attention.recording.file.save_file", full)
    output = run(*arguments, "--out", "out", "--quiet")
    assert output.code == 2 and output.err.count("\n") == 1
    assert "recording.safetensors: Error while serializing: I/O error: No space left on device (os error 28). Make" in (
        output.err
    )
    assert not list(Path("out").glob("*recording*")) and not list(Path("out").glob(".*"))


def test_what_a_message_quotes_cannot_change_the_terminal(run: Any, arguments: list[Any]) -> None:
    output = run(*arguments, "--layers", "\x1b[31m\u202e" + "9" * 40_000, "--out", "out", "--quiet")
    assert output.code == 2 and "\\x1b[31m\\u202e999" in output.err and len(output.err) < 1000
