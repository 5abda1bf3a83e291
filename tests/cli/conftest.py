"""Fixtures that run the command line in this process with the random model."""

from __future__ import annotations

import importlib.util
import json
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from concept_attention.cli import main

# All tests here need diffusers.
collect_ignore_glob = [] if importlib.util.find_spec("diffusers") else ["test_*.py"]


@dataclass(frozen=True)
class Output:
    """Exit code of a command, and what it printed on stdout and stderr."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)


Run = Callable[..., Output]


@pytest.fixture
def run(
    random_pipeline: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Run:
    """Run a command in an empty folder, with the random model instead of the one it names."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("concept_attention.cli.model.load_pipeline", lambda *_: random_pipeline)

    def run(*arguments: object) -> Output:
        capsys.readouterr()
        code = main([str(argument) for argument in arguments])
        return Output(code, *capsys.readouterr())

    return run


GENERATE = [
    "generate", "a red house on grass", "--concepts", "house", "the sky: blue sky", "tree", "--background", "grass",
    "--width", "96", "--height", "64", "--steps", "3", "--seed", "5", "--cfg", "2", "--negative-prompt", "snow",
]  # fmt: skip


@pytest.fixture
def arguments() -> list[str]:
    """The arguments of `generated`, without --out."""
    return list(GENERATE)


@pytest.fixture(scope="session")
def generated_once(random_pipeline: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("once") / "generated"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("concept_attention.cli.model.load_pipeline", lambda *_: random_pipeline)
        assert main([*GENERATE, "--out", str(folder), "--quiet"]) == 0
    return folder


@pytest.fixture
def generated(run: Run, tmp_path: Path, generated_once: Path) -> Path:
    """A fresh folder with results of `generate`: three steps, 96 x 64 pixels, four joint blocks, four concepts."""
    return shutil.copytree(generated_once, tmp_path / "generated")
