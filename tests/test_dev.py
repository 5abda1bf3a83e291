"""dev.py: the environment it makes, when it makes it again, and the two commands."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from .support.comfyui.boot import load_script

ROOT = Path(__file__).resolve().parents[1]
dev = load_script("dev")


class Installer:
    """Stands in for venv, pip and npm: notes the commands, and makes the files that dev.py looks for."""

    def __init__(self, root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.root, self.folder = root, root / ".venv"
        self.commands: list[list[str]] = []
        self.code: Callable[[Sequence[str]], int] = lambda command: 0
        self.output: Callable[[str], str | None] = lambda code: ""
        monkeypatch.setattr(dev, "call", self.call)
        monkeypatch.setattr(dev, "output_of", lambda python, code: self.output(code))
        (root / "pyproject.toml").write_text("[project]\n", encoding="utf-8")
        (root / "constraints.txt").write_text("# tested\ntorch==2.13.0\nruff<1\n", encoding="utf-8")

    def call(self, command: Sequence[str]) -> int:
        self.commands.append(list(command))
        if "venv" in command:
            for name in ("bin/python", "Scripts/python.exe", "pyvenv.cfg"):
                (self.folder / name).parent.mkdir(exist_ok=True)
                (self.folder / name).touch()
        if "--prefix" in command and not self.code(command):
            tsc = Path(command[3]) / "node_modules" / "typescript" / "bin" / "tsc"
            tsc.parent.mkdir(parents=True)
            tsc.touch()
        return self.code(command)

    def ensure(self, *extras: str, comfyui: Path | None = None) -> list[list[str]]:
        """Ask for an environment; the commands that had to be run for it, without `python -m`."""
        self.commands.clear()
        dev.ensure_environment(self.root, list(extras), comfyui)
        return [command[2:] for command in self.commands]


@pytest.fixture
def installer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Installer:
    return Installer(tmp_path, monkeypatch)


def make_comfyui(folder: Path, requirements: str = "") -> Path:
    (folder / "comfy").mkdir(parents=True)
    for name in ("main.py", "comfy/sd.py"):
        (folder / name).touch()
    (folder / "requirements.txt").write_text(requirements, encoding="utf-8")
    return folder


def test_dev_reads_as_python_3_6_and_needs_only_the_standard_library() -> None:
    imported: set[str] = set()
    for node in ast.walk(ast.parse((ROOT / "dev.py").read_text(encoding="utf-8"), feature_version=(3, 6))):
        if isinstance(node, ast.Import):
            imported |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            imported.add(str(node.module))
    assert {name.split(".")[0] for name in imported} <= sys.stdlib_module_names


def test_an_older_python_gets_one_line_and_exit_code_2() -> None:
    program = "import runpy, sys; sys.version_info = (3, 9); runpy.run_path('dev.py', run_name='__main__')"
    run = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=False)
    assert (run.returncode, run.stdout) == (2, "")
    assert re.fullmatch(r"error: dev.py needs Python 3\.10 or newer, this is \S+\n", run.stderr)


def test_first_run_installs_torch_alone_and_pinned_before_the_project(installer: Installer) -> None:
    venv, tools, torch, project = installer.ensure("standalone")
    assert venv == ["venv", str(installer.folder)]
    assert tools[-2:] == ["pip>=21.3", "setuptools>=77"]
    assert torch == ["pip", "install", "--quiet", "torch==2.13.0"]
    constraints = str(installer.root / "constraints.txt")
    assert project[3:] == ["-c", constraints, "--no-build-isolation", "-e", f"{installer.root}[standalone]"]


def test_an_environment_is_updated_in_place_if_extras_or_inputs_are_new(installer: Installer) -> None:
    installer.ensure("standalone")
    assert installer.ensure("standalone") == []
    tools, torch, project = installer.ensure("dev")
    assert project[-1].endswith("[dev,standalone]")
    assert installer.ensure("dev", "standalone") == installer.ensure("standalone") == []
    for name in ("pyproject.toml", "constraints.txt"):
        with open(installer.root / name, "a", encoding="utf-8") as file:
            file.write("# changed\n")
        assert installer.ensure("standalone") == [tools, torch, project]
        assert installer.ensure("standalone") == []


@pytest.mark.parametrize("before", [[], ["standalone"]])
def test_an_interrupted_environment_is_made_anew(installer: Installer, before: list[str]) -> None:
    if before:  # an update is interrupted
        installer.ensure(*before)
    installer.code = lambda command: int("-e" in command)
    with pytest.raises(dev.SetupError, match="pip could not install .* See its message above"):
        installer.ensure("dev")
    (installer.folder / "half.py").touch()
    installer.code = lambda command: 0
    assert installer.ensure("standalone")[0][0] == "venv"
    assert not (installer.folder / "half.py").exists()


@pytest.mark.parametrize("stamp", ['{"folder": "moved"}', "{"])
def test_a_moved_environment_or_a_damaged_stamp_makes_it_anew(installer: Installer, stamp: str) -> None:
    installer.ensure("standalone")
    (installer.folder / "dev.json").write_text(stamp, encoding="utf-8")
    assert installer.ensure("standalone")[0][0] == "venv"


def test_an_environment_of_someone_else_is_left_alone(installer: Installer) -> None:
    installer.folder.mkdir()
    (installer.folder / "pyvenv.cfg").touch()
    with pytest.raises(dev.SetupError, match=r"was not made by dev.py. Move it away or delete it"):
        installer.ensure("standalone")
    assert [path.name for path in installer.folder.iterdir()] == ["pyvenv.cfg"]


def test_comfyui_is_where_the_variable_says_or_around_the_checkout_or_in_its_usual_place(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Path, "home", lambda: tmp_path)
    monkeypatch.setenv("COMFYUI_PATH", "")
    around, usual = tmp_path / "around", tmp_path / "comfy" / "ComfyUI"
    checkout = around / "custom_nodes" / "pack"
    assert dev.find_comfyui(checkout) is None
    make_comfyui(usual)
    assert dev.find_comfyui(checkout) == usual
    make_comfyui(around)
    assert dev.find_comfyui(checkout) == around
    assert dev.find_comfyui(tmp_path / "pack") == usual
    monkeypatch.setenv("COMFYUI_PATH", str(make_comfyui(tmp_path / "named")))
    assert dev.find_comfyui(checkout) == tmp_path / "named"
    monkeypatch.setenv("COMFYUI_PATH", str(tmp_path))
    with pytest.raises(dev.SetupError, match=r"COMFYUI_PATH is .*, which holds no ComfyUI \(.*\)\. Correct it\."):
        dev.find_comfyui(checkout)


def test_its_requirements_are_installed_without_torch_templates_and_help(installer: Installer) -> None:
    kept = ["comfyui-frontend-package==1.2", "torchsde", "transformers>=4.50.3", "", "#optional:", "pydantic~=2.0"]
    left_out = ["torch", "TorchVision>=0.1", "torchaudio", "comfyui_workflow_templates==1", "comfyui-embedded-docs==1"]
    comfyui = make_comfyui(installer.root / "ComfyUI", "\n".join([*left_out, *kept]))
    install = installer.ensure("dev", comfyui=comfyui)[4]
    assert install[3:5] == ["-c", str(installer.root / "constraints.txt")]  # pip may not choose another torch
    assert Path(install[-1]).read_text(encoding="utf-8").splitlines() == kept


def test_a_torchvision_that_does_not_fit_is_put_where_only_comfyui_sees_it(installer: Installer) -> None:
    installer.output = lambda code: None if code == "import torchvision" else "0.28.0"
    *_, apart, gone = installer.ensure("dev", comfyui=make_comfyui(installer.root / "ComfyUI"))
    assert apart[3:] == ["--no-deps", "--target", str(installer.folder / "comfyui"), "torchvision==0.28.0"]
    assert gone == ["pip", "uninstall", "--quiet", "--yes", "torchvision"]


def test_its_requirements_are_installed_once_until_they_or_the_project_change(installer: Installer) -> None:
    comfyui = make_comfyui(installer.root / "ComfyUI")
    installer.ensure("dev")
    assert any("-r" in command for command in installer.ensure("dev", comfyui=comfyui))
    assert installer.ensure("dev", comfyui=comfyui) == installer.ensure("dev") == []
    (comfyui / "requirements.txt").write_text("einops\n", encoding="utf-8")
    assert any("-r" in command for command in installer.ensure("dev", comfyui=comfyui))
    installer.ensure("dev", "standalone")  # what this brought may not fit them
    assert any("-r" in command for command in installer.ensure("dev", comfyui=comfyui))


def test_typescript_is_installed_once(installer: Installer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dev.shutil, "which", lambda name: name)
    node, tsc, *options = dev.typescript_command(installer.root)
    assert (node, options) == ("node", ["--project", "tests/web/tsconfig.json"])
    assert dev.typescript_command(installer.root)[1] == tsc
    (command,) = installer.commands
    assert command[:2] == ["npm", "install"] and command[-1] == f"typescript@{dev.TYPESCRIPT}"


@pytest.mark.parametrize("programs", [{"node", "npm"}, {"node"}, {"npm"}])
def test_without_a_working_npm_tsc_does_not_run(
    installer: Installer, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], programs: set[str]
) -> None:
    monkeypatch.setattr(dev.shutil, "which", lambda name: name if name in programs else None)
    installer.code = lambda command: 1
    assert dev.typescript_command(installer.root) == []
    assert capsys.readouterr().out.startswith("NOT RUN: tsc, as npm is missing or failed.")


@pytest.mark.parametrize("options", [["tests/heatmaps/test_masks.py", "-k", "absent or flat", "-x", "--lf"], []])
def test_test_runs_every_check_and_gives_its_options_to_pytest(
    monkeypatch: pytest.MonkeyPatch, options: list[str]
) -> None:
    environments, checks = [], {}
    monkeypatch.setattr(dev, "find_comfyui", lambda root: Path("ComfyUI"))
    monkeypatch.setattr(dev, "ensure_environment", lambda *wanted: environments.append(wanted) or Path("python"))
    monkeypatch.setattr(dev, "link_pack", lambda root: None)
    monkeypatch.setattr(dev, "typescript_command", lambda root: ["node", "tsc"])
    monkeypatch.setattr(dev, "run_checks", lambda commands: checks.update(commands) or 0)
    assert dev.main(["test", *options]) == 0
    assert environments == [(ROOT, ["dev", "standalone"], Path("ComfyUI"))]
    assert checks == {
        "ruff": ["python", "-m", "ruff", "check", "."],
        "mypy": ["python", "-m", "mypy"],
        "tsc": ["node", "tsc"],
        "pytest": ["python", "-m", "pytest", *(options or dev.WHOLE_SUITE)],
    }


@pytest.mark.parametrize("codes", [(0, 0, 0), (1, 0, 0), (0, 0, 5), (2, 1, 1)])
def test_every_check_runs_and_any_failure_counts(capfd: pytest.CaptureFixture[str], codes: tuple[int, ...]) -> None:
    named = dict(zip(("ruff", "mypy", "pytest"), codes, strict=True))
    program = "print('{} ran'); raise SystemExit({})"
    checks = {name: [sys.executable, "-c", program.format(name, code)] for name, code in named.items()}
    assert dev.run_checks({**checks, "tsc": []}) == int(any(codes))
    lines = capfd.readouterr().out.splitlines()
    assert [line for line in lines if line.endswith(" ran")] == [f"{name} ran" for name in named]
    results = [f"{name} {f'failed with exit code {code}' if code else 'passed'}" for name, code in named.items()]
    assert lines[-1] == f"{'FAILED' if any(codes) else 'PASSED'}: {', '.join([*results, 'tsc NOT RUN'])}"


def test_commands_run_offline_and_without_foreign_packages(
    capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYTHONPATH", "elsewhere")
    program = "import os; print(os.getcwd(), os.environ['HF_HUB_OFFLINE'], 'PYTHONPATH' in os.environ)"
    assert dev.call([sys.executable, "-c", program]) == 0
    assert capfd.readouterr().out == f"{ROOT} 1 False\n"


def test_demo_generates_then_analyzes_and_says_what_to_open(
    installer: Installer, capsys: pytest.CaptureFixture[str]
) -> None:
    generated, analyzed = installer.root / "generated", installer.root / "analyzed"
    assert dev.run_demo(Path("python"), installer.root) == 0
    (first, *options), second = [command[4:] for command in installer.commands]
    assert first == "a mountain and a boat on water under a sun in the sky"
    assert options[:7] == ["--concepts", "boat", "sun", "mountain", "water", "sky", "moon"]
    assert options[7:] == ["--seed", "4", "--out", str(generated)]
    assert second == [str(generated / "image.png"), *options[:-1], str(analyzed)]
    assert [command[3] for command in installer.commands] == ["generate", "analyze"]
    assert str(generated / "segmentation.png") in capsys.readouterr().out


def test_demo_stops_at_the_first_failure(installer: Installer, capsys: pytest.CaptureFixture[str]) -> None:
    installer.code = lambda command: 7
    assert dev.run_demo(Path("python"), installer.root) == 7
    assert len(installer.commands) == 1
    assert "generate failed with exit code 7" in capsys.readouterr().err


def test_demo_refuses_options_it_does_not_know(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="2"):
        dev.main(["demo", "--steps", "3"])
    assert "demo does not know --steps 3" in capsys.readouterr().err


def test_errors_are_one_line_and_exit_code_2(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def refuse(*wanted: object) -> Path:
        raise dev.SetupError("no room")

    monkeypatch.setattr(dev, "ensure_environment", refuse)
    assert dev.main(["test"]) == dev.main(["demo"]) == 2
    assert capsys.readouterr().err == "error: no room\n" * 2
