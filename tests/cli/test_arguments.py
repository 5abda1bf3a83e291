"""The arguments of the command line: help texts, defaults, and one-line errors for mistakes."""

from __future__ import annotations

import argparse
import subprocess
import sys
from importlib import metadata
from pathlib import Path
from typing import Any

import pytest

from concept_attention.cli import arguments, main

ROOT = Path(__file__).parents[2]
CONCEPTS = ["--concepts", "sky", "house"]
GENERATE = ["generate", "a house", *CONCEPTS, "--out", "out"]
ANALYZE = ["analyze", "image.png", *CONCEPTS, "--out", "out"]


def test_the_help_lists_every_model_with_a_short_name() -> None:
    from concept_attention.hosts.diffusers.loading import names

    help_of_model = next(
        action.help
        for command in arguments.build_parser()._subparsers._group_actions[0].choices.values()
        for action in command._actions
        if action.dest == "model"
    )
    assert all(f"{name}," in help_of_model or f"{name} (" in help_of_model for name in names())


def test_the_defaults_are_those_in_the_help() -> None:
    parsed = arguments.parse_arguments(GENERATE)
    assert (parsed.model, parsed.device, parsed.dtype, parsed.offload) == ("tiny", "auto", "auto", "none")
    assert (parsed.layers, parsed.heatmap_steps, parsed.kind, parsed.mask) == ("auto", "all", "share", "argmax")
    assert (parsed.steps, parsed.width, parsed.height, parsed.cfg, parsed.guidance) == (None,) * 5
    assert arguments.parse_arguments(ANALYZE).noise == 0.5
    benchmark = arguments.parse_arguments(["benchmark", "landscapes", "--out", "out"])
    assert (benchmark.protocol, benchmark.method, benchmark.stage, benchmark.limit) == (
        "proper",
        "concept",
        "both",
        None,
    )


def test_the_version_is_that_of_the_package(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as leaving:
        main(["--version"])
    assert leaving.value.code == 0
    assert capsys.readouterr().out == f"concept-attention {metadata.version('concept-attention')}\n"


def test_the_version_of_a_checkout_that_is_not_installed_is_unknown(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def missing(name: str) -> str:
        raise metadata.PackageNotFoundError(name)

    monkeypatch.setattr(metadata, "version", missing)
    with pytest.raises(SystemExit):
        main(["--version"])
    assert capsys.readouterr().out == "concept-attention (of a checkout that is not installed)\n"


def test_help_needs_neither_torch_nor_numpy() -> None:
    code = (
        "import sys\nfrom concept_attention.cli import main\n"
        "try:\n    main(['generate', '--help'])\nexcept SystemExit:\n"
        "    print(*(name for name in ('torch', 'numpy', 'diffusers') if name in sys.modules), file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert "--negative-prompt" in done.stdout and done.stderr.strip() == ""


def test_the_module_runs_the_command_line() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "concept_attention", "paint"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 2 and done.stdout == ""
    assert done.stderr.startswith("error: ") and done.stderr.count("\n") == 1


@pytest.mark.parametrize("command", ["generate", "analyze", "heatmaps", "label", "benchmark"])
def test_every_command_explains_every_option(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as leaving:
        arguments.parse_arguments([command, "--help"])
    assert leaving.value.code == 0 and "--out" in capsys.readouterr().out
    commands = next(a for a in arguments.build_parser()._actions if isinstance(a, argparse._SubParsersAction))
    assert all(action.help for action in commands.choices[command]._actions)


@pytest.mark.parametrize(
    "words, expected",
    [
        ([], "COMMAND"),
        (["paint"], "generate"),
        (["generate"], "PROMPT, --concepts, --out"),
        (["generate", "a house", "--out", "out"], "--concepts"),
        (["generate", "a house", "--concepts", "--out", "out"], "at least one"),
        (["generate", "a house", *CONCEPTS], "--out"),
        (["generate", "a house", "--concepts", "", "--out", "out"], "There are no concepts"),
        (["generate", "a house", "--concepts", "sky", "Sky", "--out", "out"], '"Sky" is already on line 1'),
        (["generate", "a house", "--concepts", "sky,,tree", "--out", "out"], "empty concept"),
        ([*GENERATE, "--background", "House"], '"House" is already'),
        (["generate", "a house", *CONCEPTS, "--out", ""], "--out: must be a path"),
        ([*GENERATE, "--width", "100"], "multiple of 16"),
        ([*GENERATE, "--height", "0"], "multiple of 16"),
        ([*GENERATE, "--width", "-64"], "multiple of 16"),
        ([*GENERATE, "--steps", "0"], "integer >= 1, got 0"),
        ([*GENERATE, "--steps", "few"], "must be an integer, got 'few'"),
        ([*GENERATE, "--seed", "-1"], "from 0 to"),
        ([*GENERATE, "--seed", str(2**63)], "from 0 to"),
        ([*GENERATE, "--cfg", "0.5"], "number >= 1, got 0.5"),
        ([*GENERATE, "--cfg", "inf"], "number >= 1, got inf"),
        ([*GENERATE, "--guidance", "nan"], "number >= 0, got nan"),
        ([*GENERATE, "--opacity", "1.1"], "from 0 to 1"),
        ([*GENERATE, "--blur", "-1"], "from 0"),
        ([*GENERATE, "--mask", "crisp"], "argmax"),
        ([*GENERATE, "--mode", "exact"], "paper"),
        ([*GENERATE, "--kind", "heat"], "stretched"),
        ([*GENERATE, "--precision", "bfloat16"], "float16"),
        ([*GENERATE, "--noise", "0.5"], "nrecognized arguments: --noise"),
        (["generate", "a \udcff house", *CONCEPTS, "--out", "out"], "not valid Unicode"),
        ([*ANALYZE, "--noise", "1.5"], "from 0 to 1, got 1.5"),
        ([*ANALYZE, "--noise", "-0.1"], "from 0 to 1"),
        ([*ANALYZE, "--noise", "nan"], "from 0 to 1"),
        ([*ANALYZE, "--noise", "0"], "above 0"),
        ([*ANALYZE, "--noise", "much"], "must be a number, got 'much'"),
        ([*ANALYZE, "--samples", "0"], "integer >= 1"),
        (["benchmark", "landscapes", "--limit", "0", "--out", "out"], "integer >= 1"),
        (["benchmark", "photos", "--out", "out"], "landscapes"),
    ],
)
def test_a_mistake_is_one_line_and_leaves_no_files(
    words: list[str], expected: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(words) == 2
    out, err = capsys.readouterr()
    assert out == "" and err.startswith("error: ") and err.count("\n") == 1 and expected in err
    assert not list(tmp_path.iterdir())
