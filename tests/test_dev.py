"""dev.py: the environment it makes, when it makes it again, and what it says when it cannot."""

from __future__ import annotations

import ast
import importlib.util
import json
import re
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).resolve().parents[1]
SOURCE = (ROOT / "dev.py").read_text(encoding="utf-8")


@pytest.fixture
def dev() -> ModuleType:
    spec = importlib.util.spec_from_file_location("dev_under_test", ROOT / "dev.py")
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


class Installer:
    """Stands in for venv and pip: notes the commands, and makes files where they would."""

    def __init__(self, dev: ModuleType, root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.dev, self.root, self.folder = dev, root, root / ".venv"
        self.commands: list[list[str]] = []
        self.fails: Callable[[Sequence[str]], BaseException | None] = lambda command: None
        self.torch = False
        self.torchvision = ""  # version that pip has installed, one that does not import here
        monkeypatch.setattr(dev, "logged", self.logged)
        monkeypatch.setattr(dev, "asked", self.asked)
        (root / "pyproject.toml").write_text("[project]\n", encoding="utf-8")
        (root / "constraints.txt").write_text("# tested\ntorch==2.13.0\nruff<1\n", encoding="utf-8")

    def logged(self, folder: Path, command: Sequence[str], failure: str) -> None:
        error = self.fails(command)
        if error is not None:
            raise error
        self.commands.append(list(command))
        if "venv" in command:
            (folder / "made").write_text("", encoding="utf-8")
        self.torch = self.torch or "torch==2.13.0" in command
        if "-r" in command:
            self.torchvision = "0.28.0"  # one of those packages asks for it

    def asked(self, python: Path, code: str) -> subprocess.CompletedProcess[str]:
        made = (self.folder / "made").exists()
        fits = {"": True, "import torchvision": self.torchvision == ""}.get(code, self.torch)
        return subprocess.CompletedProcess([], int(not (made and fits)), stdout=f"{self.torchvision}\n")

    def ensure(self, *extras: str, comfyui: Path | None = None) -> list[list[str]]:
        """Ask for an environment; what had to be run for it."""
        self.commands.clear()
        self.dev.ensure_environment(self.root, list(extras), comfyui)
        return [command[2:] for command in self.commands]  # without `python -m`


@pytest.fixture
def installer(dev: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Installer:
    return Installer(dev, tmp_path, monkeypatch)


# Which Python


def test_dev_reads_as_python_3_6_and_needs_only_the_standard_library() -> None:
    tree = ast.parse(SOURCE, feature_version=(3, 6))
    imported: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            imported |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            imported.add(str(node.module))
    assert {name.split(".")[0] for name in imported} <= sys.stdlib_module_names


def test_an_older_python_gets_one_line_and_exit_code_2() -> None:
    program = "import runpy, sys; sys.version_info = (3, 9); runpy.run_path('dev.py', run_name='__main__')"
    command = [sys.executable, "-c", program]
    run = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert (run.returncode, run.stdout) == (2, "")
    assert re.fullmatch(r"error: dev.py needs Python 3\.10 or newer, this is \S+\n", run.stderr)


# The environment


def test_first_run_installs_torch_alone_and_pinned_before_the_project(installer: Installer) -> None:
    venv, tools, torch, project = installer.ensure("standalone")
    assert venv == ["venv", str(installer.folder)]
    assert tools[-2:] == ["pip>=21.3", "setuptools>=77"]
    assert torch == ["pip", "install", "--quiet", "torch==2.13.0"]
    assert project[3:] == ["-c", "constraints.txt", "--no-build-isolation", "-e", ".[standalone]"]


def test_an_unchanged_checkout_installs_nothing(installer: Installer) -> None:
    installer.ensure("dev", "standalone")
    assert installer.ensure("dev", "standalone") == []
    assert installer.ensure("standalone") == []


def test_further_extras_are_added_in_place_and_torch_stays(installer: Installer) -> None:
    installer.ensure("standalone")
    assert [command[-1] for command in installer.ensure("dev")] == ["setuptools>=77", ".[dev,standalone]"]
    assert installer.ensure("dev", "standalone") == []


@pytest.mark.parametrize("name", ["pyproject.toml", "constraints.txt"])
def test_a_changed_input_updates_the_environment(installer: Installer, name: str) -> None:
    installer.ensure("standalone")
    with open(installer.root / name, "a", encoding="utf-8") as file:
        file.write("# changed\n")
    assert [command[-1] for command in installer.ensure("standalone")] == ["setuptools>=77", ".[standalone]"]
    assert installer.ensure("standalone") == []


@pytest.mark.parametrize("cause", [KeyboardInterrupt(), OSError("disk")])
def test_a_half_made_environment_is_made_anew(installer: Installer, cause: BaseException) -> None:
    installer.fails = lambda command: cause if "-e" in command else None
    with pytest.raises((KeyboardInterrupt, installer.dev.SetupError)):
        installer.ensure("standalone")
    (installer.folder / "lib").mkdir()
    (installer.folder / "lib" / "half.py").write_text("", encoding="utf-8")
    installer.fails, installer.torch = lambda command: None, False
    assert len(installer.ensure("standalone")) == 4
    assert not (installer.folder / "lib").exists()


def test_an_update_that_stops_leaves_no_stamp_behind(installer: Installer) -> None:
    installer.ensure("standalone")
    installer.fails = lambda command: KeyboardInterrupt() if "-e" in command else None
    with pytest.raises(KeyboardInterrupt):
        installer.ensure("dev")
    installer.fails = lambda command: None
    assert installer.ensure("standalone")[0][0] == "venv"


@pytest.mark.parametrize("key", ["folder", "python"])
def test_a_moved_checkout_or_another_python_makes_it_anew(installer: Installer, key: str) -> None:
    installer.ensure("standalone")
    stamp = installer.folder / "dev.json"
    stamp.write_text(json.dumps({**json.loads(stamp.read_text("utf-8")), key: "another"}), encoding="utf-8")
    assert installer.ensure("standalone")[0][0] == "venv"


@pytest.mark.parametrize("text", ["", "{", "[]", '{"extras": 1}'])
def test_a_damaged_stamp_makes_it_anew(installer: Installer, text: str) -> None:
    installer.ensure("standalone")
    (installer.folder / "dev.json").write_text(text, encoding="utf-8")
    assert installer.ensure("standalone")[0][0] == "venv"


def test_an_environment_of_someone_else_is_left_alone(installer: Installer) -> None:
    installer.folder.mkdir()
    (installer.folder / "pyvenv.cfg").write_text("theirs", encoding="utf-8")
    with pytest.raises(installer.dev.SetupError, match=r"was not made by dev.py. Move it away or delete it"):
        installer.ensure("standalone")
    assert [path.name for path in installer.folder.iterdir()] == ["pyvenv.cfg"]


def test_a_file_in_place_of_the_environment_is_an_error(installer: Installer) -> None:
    installer.folder.write_text("", encoding="utf-8")
    with pytest.raises(installer.dev.SetupError, match="cannot be made: .*Delete it, then run this again"):
        installer.ensure("standalone")


def test_linux_users_are_told_of_the_cuda_build(
    installer: Installer, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "platform", "linux")
    installer.ensure("standalone")
    assert "PIP_EXTRA_INDEX_URL" in capsys.readouterr().out


def test_a_second_dev_waits_for_the_first(dev: ModuleType, tmp_path: Path) -> None:
    folder = tmp_path / ".venv"
    with dev.alone(folder), open(folder / "dev.lock", encoding="utf-8") as other:
        assert not dev.locked(other.fileno())
    with open(folder / "dev.lock", "a", encoding="utf-8") as other:
        assert dev.locked(other.fileno())


# What ComfyUI needs


def make_comfyui(folder: Path, requirements: str = "") -> Path:
    (folder / "comfy").mkdir(parents=True)
    for name in ("main.py", "comfy/sd.py"):
        (folder / name).touch()
    (folder / "requirements.txt").write_text(requirements, encoding="utf-8")
    return folder


def test_comfyui_is_where_the_variable_says_or_around_the_checkout_or_in_its_usual_place(
    dev: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
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


def test_comfyuis_own_list_is_installed_without_torch_and_without_templates_and_help(installer: Installer) -> None:
    needs = [
        "comfyui-frontend-package==1.2.3",
        "comfyui_workflow_templates==1.2",
        "comfyui-embedded-docs==1.2",
        "torch",
        "torchsde",
        "TorchVision>=0.1",
        "torchaudio",
        "transformers>=4.50.3",
        "comfy-kitchen==0.2.31",
        "",
        "#optional:",
        "pydantic~=2.0",
    ]
    comfyui = make_comfyui(installer.root / "ComfyUI", "\n".join(needs))
    install = installer.ensure("dev", comfyui=comfyui)[4]
    assert install[3:5] == ["-c", "constraints.txt"]  # torch among them: pip may not choose another one
    assert Path(install[-1]).read_text(encoding="utf-8").splitlines() == [
        "comfyui-frontend-package==1.2.3",
        "torchsde",
        "transformers>=4.50.3",
        "comfy-kitchen==0.2.31",
        "",
        "#optional:",
        "pydantic~=2.0",
    ]


def test_a_torchvision_that_does_not_fit_is_put_where_only_comfyui_sees_it(installer: Installer) -> None:
    comfyui = make_comfyui(installer.root / "ComfyUI")
    *_, aside, gone = installer.ensure("dev", comfyui=comfyui)
    assert aside[3:] == ["--no-deps", "--target", str(installer.folder / "comfyui"), "torchvision==0.28.0"]
    assert gone == ["pip", "uninstall", "--quiet", "--yes", "torchvision"]


def test_comfyuis_packages_are_installed_once_until_its_list_changes(installer: Installer) -> None:
    comfyui = make_comfyui(installer.root / "ComfyUI")
    installer.ensure("dev")
    assert [command for command in installer.ensure("dev", comfyui=comfyui) if "-r" in command]
    assert installer.ensure("dev", comfyui=comfyui) == installer.ensure("dev") == []
    (comfyui / "requirements.txt").write_text("einops\n", encoding="utf-8")
    assert [command for command in installer.ensure("dev", comfyui=comfyui) if "-r" in command]
    assert installer.ensure("dev", comfyui=comfyui) == []


def test_an_update_without_comfyui_has_its_packages_looked_at_again(installer: Installer) -> None:
    """What the update brought may not fit them."""
    comfyui = make_comfyui(installer.root / "ComfyUI")
    installer.ensure("dev", comfyui=comfyui)
    installer.ensure("dev", "standalone")
    assert [command for command in installer.ensure("dev", comfyui=comfyui) if "-r" in command]


def test_only_the_tests_need_what_comfyui_needs(dev: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    asked_for = []
    monkeypatch.setattr(dev, "find_comfyui", lambda root: Path("ComfyUI"))
    monkeypatch.setattr(
        dev, "ensure_environment", lambda root, extras, comfyui=None: asked_for.append(comfyui) or Path("python")
    )
    monkeypatch.setattr(dev, "ensure_typescript", lambda root: [])
    monkeypatch.setattr(dev, "run_checks", lambda commands: 0)
    monkeypatch.setattr(dev, "run_demo", lambda python, out: 0)
    assert dev.main(["demo"]) == dev.main(["test"]) == 0
    assert asked_for == [None, Path("ComfyUI")]


# What checks the types of what browsers load


class Npm:
    """Stands in for npm: notes the commands, and installs what they name."""

    def __init__(self, dev: ModuleType, root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.dev, self.root, self.commands, self.programs = dev, root, [], {"node", "npm"}
        self.package = root / ".venv" / "node_modules" / "typescript"
        monkeypatch.setattr(dev, "logged", self.logged)
        monkeypatch.setattr(dev.shutil, "which", lambda name: f"/bin/{name}" if name in self.programs else None)

    def logged(self, folder: Path, command: Sequence[str], failure: str) -> None:
        self.commands.append(list(command))
        self.package.mkdir(parents=True, exist_ok=True)
        version = json.dumps({"version": command[-1].partition("@")[2]})
        (self.package / "package.json").write_text(version, encoding="utf-8")


@pytest.fixture
def npm(dev: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Npm:
    return Npm(dev, tmp_path, monkeypatch)


def test_typescript_is_installed_once_until_its_version_changes(npm: Npm, monkeypatch: pytest.MonkeyPatch) -> None:
    tsc = ["/bin/node", str(npm.package / "bin" / "tsc"), "--project", "tests/web/tsconfig.json"]
    assert npm.dev.ensure_typescript(npm.root) == npm.dev.ensure_typescript(npm.root) == tsc
    (command,) = npm.commands
    assert command[:4] == ["/bin/npm", "install", "--prefix", str(npm.root / ".venv")]
    assert command[-1] == f"typescript@{npm.dev.TYPESCRIPT}"
    monkeypatch.setattr(npm.dev, "TYPESCRIPT", "99.1.0")
    assert npm.dev.ensure_typescript(npm.root) == tsc and npm.commands[1:] == [[*command[:-1], "typescript@99.1.0"]]


@pytest.mark.parametrize("text", ["", "[]", "{}"])
def test_a_half_installed_typescript_is_installed_again(npm: Npm, text: str) -> None:
    npm.dev.ensure_typescript(npm.root)
    (npm.package / "package.json").write_text(text, encoding="utf-8")
    assert npm.dev.ensure_typescript(npm.root) and len(npm.commands) == 2


@pytest.mark.parametrize("missing", ["node", "npm"])
def test_without_npm_the_types_check_is_said_not_to_run(
    npm: Npm, capsys: pytest.CaptureFixture[str], missing: str
) -> None:
    npm.programs.remove(missing)
    assert npm.dev.ensure_typescript(npm.root) == npm.commands == []
    assert re.match(r"NOT RUN: tsc, .*: there is no npm\. Install Node\.js", capsys.readouterr().err)


def test_an_npm_that_cannot_install_is_said_and_stops_nothing(
    npm: Npm, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def refuse(folder: Path, command: Sequence[str], failure: str) -> None:
        raise npm.dev.SetupError(f"{failure}. Check the network")

    monkeypatch.setattr(npm.dev, "logged", refuse)
    assert npm.dev.ensure_typescript(npm.root) == []
    assert "NOT RUN: tsc, which checks the types in web/: TypeScript could not be inst" in capsys.readouterr().err


# Failures


def test_a_python_without_venv_names_the_package(
    installer: Installer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(installer.dev.SetupError, match="sudo apt install python3-venv"):
        installer.ensure("standalone")


def test_a_full_disk_is_found_before_anything_is_installed(
    installer: Installer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(installer.dev, "DISK_GB", 1e9)
    with pytest.raises(installer.dev.SetupError, match="GB are free. Make room"):
        installer.ensure("standalone")
    assert installer.commands == []


@pytest.mark.parametrize(
    ("said", "advice"),
    [
        ("ERROR: Could not install packages: [Errno 28] No space left on device", "free 2 GB"),
        (
            "WARNING: Retrying (Retry(total=4)) after connection broken by 'NewConnectionError(...)'\n"
            "ERROR: No matching distribution found for torch==2.13.0",
            "Check the network",
        ),
        ("ERROR: No matching distribution found for torch==2.13.0", "64-bit Python 3.10-3.14"),
        ("The environment was not created because ensurepip is not\navailable.", "apt install"),
        ("Error: [Errno 13] Permission denied: '/opt/x/.venv'", "folder of your own"),
        ("ERROR: Cannot install concept-attention: conflicting dependencies", "Mend what pip says above"),
    ],
)
def test_a_failed_install_shows_its_error_and_what_to_do(
    dev: ModuleType, tmp_path: Path, capsys: pytest.CaptureFixture[str], said: str, advice: str
) -> None:
    program = "import sys; print(sys.argv[1]); sys.exit(1)"
    with pytest.raises(dev.SetupError, match=f"^it failed. .*{advice}"):
        dev.logged(tmp_path, [sys.executable, "-c", program, said], "it failed")
    assert said.splitlines()[-1] in capsys.readouterr().err


def test_errors_are_one_line_and_exit_code_2(
    dev: ModuleType, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def refuse(root: Path, extras: Sequence[str], comfyui: Path | None = None) -> Path:
        raise dev.SetupError("no room")

    monkeypatch.setattr(dev, "ensure_environment", refuse)
    assert dev.main(["test"]) == dev.main(["demo"]) == 2
    assert capsys.readouterr().err == "error: no room\n" * 2


# The commands


def test_options_of_test_go_to_pytest_unchanged(dev: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: dict[str, list[str]] = {}
    monkeypatch.setattr(dev, "ensure_environment", lambda root, extras, comfyui: Path("python"))
    monkeypatch.setattr(dev, "ensure_typescript", lambda root: ["node", "tsc"])
    monkeypatch.setattr(dev, "run_checks", lambda commands: seen.update(commands) or 0)
    options = ["tests/heatmaps/test_masks.py", "-k", "absent or flat", "-x", "--lf", "--maxfail=2"]
    assert dev.main(["test", *options]) == 0
    assert seen["pytest"] == ["python", "-m", "pytest", *options]
    assert seen["ruff"] == ["python", "-m", "ruff", "check", "."]
    assert seen["mypy"] == ["python", "-m", "mypy"]
    assert seen["tsc"] == ["node", "tsc"]


def test_demo_refuses_options_it_does_not_know(dev: ModuleType, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="2"):
        dev.main(["demo", "--steps", "3"])
    assert "demo does not know --steps 3" in capsys.readouterr().err


@pytest.mark.parametrize("codes", [(0, 0, 0), (1, 0, 0), (0, 0, 5), (2, 1, 1)])
def test_every_check_runs_and_any_failure_counts(
    dev: ModuleType, capfd: pytest.CaptureFixture[str], codes: tuple[int, ...]
) -> None:
    names = ("ruff", "mypy", "pytest")
    programs = {
        name: [sys.executable, "-c", f"print('{name} ran'); raise SystemExit({code})"]
        for name, code in zip(names, codes, strict=True)
    }
    assert dev.run_checks(programs) == int(any(codes))
    lines = capfd.readouterr().out.splitlines()
    assert [line for line in lines if line.endswith(" ran")] == [f"{name} ran" for name in names]
    assert lines[-1].startswith("FAILED: " if any(codes) else "PASSED: ")
    for name, code in zip(names, codes, strict=True):
        assert f"{name} {f'failed with exit code {code}' if code else 'passed'} (" in lines[-1]


def test_a_check_that_cannot_run_is_named_and_fails_nothing(
    dev: ModuleType, capfd: pytest.CaptureFixture[str]
) -> None:
    assert dev.run_checks({"ruff": [sys.executable, "-c", ""], "tsc": []}) == 0
    (result,) = [line for line in capfd.readouterr().out.splitlines() if "ruff passed" in line]
    assert result.startswith("PASSED: ") and result.endswith(", tsc NOT RUN")


def test_demo_generates_then_analyzes_offline_and_says_what_to_open(
    dev: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    calls: list[list[str]] = []

    def call(command: list[str], cwd: Path, env: dict[str, str]) -> int:
        assert (cwd, env["HF_HUB_OFFLINE"], "PYTHONPATH" in env) == (ROOT, "1", False)
        calls.append(command[3:])
        return 0

    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    monkeypatch.setattr(dev.subprocess, "call", call)
    assert dev.run_demo(Path("python"), tmp_path) == 0
    options = ["--concepts", "boat", "sun", "mountain", "water", "sky", "moon", "--seed", "4"]
    generated, analyzed = tmp_path / "generated", tmp_path / "analyzed"
    assert calls == [
        ["generate", "a mountain and a boat on water under a sun in the sky", *options, "--out", str(generated)],
        ["analyze", str(generated / "image.png"), *options, "--out", str(analyzed)],
    ]
    assert str(generated / "segmentation.png") in capsys.readouterr().out


def test_demo_stops_at_the_first_failure(
    dev: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    calls: list[list[str]] = []
    monkeypatch.setattr(dev.subprocess, "call", lambda command, cwd, env: calls.append(command) or 7)
    assert dev.run_demo(Path("python"), tmp_path) == 7
    assert len(calls) == 1
    assert "generate failed with exit code 7" in capsys.readouterr().err


# The lists of packages


def requirement_lines(name: str) -> list[str]:
    lines = (ROOT / name).read_text(encoding="utf-8").splitlines()
    return [line for line in lines if line and not line.startswith("#")]


def test_torch_is_pinned_for_tests_and_never_required_of_comfyui_users() -> None:
    assert [line for line in requirement_lines("constraints.txt") if re.match(r"torch==[\d.]+$", line)]
    assert not [line for line in requirement_lines("requirements.txt") if line.startswith("torch")]


def test_requirements_are_the_project_s_own_dependencies() -> None:
    tomllib = pytest.importorskip("tomllib")
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert requirement_lines("requirements.txt") == project["dependencies"]
    assert project["requires-python"] == ">=3.10"


def test_every_source_file_is_type_checked() -> None:
    """A folder or script that mypy is not told about goes unchecked, and one that does not exist stops it."""
    tomllib = pytest.importorskip("tomllib")
    mypy = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["mypy"]
    ignored = {"tests", "build", "dist", "runs", "demo_output"}
    folders = {path.parent.name for path in ROOT.glob("[!.]*/*.py")} - ignored
    assert {name.removeprefix("concept_attention_pack.") for name in mypy["packages"]} == folders
    scripts = {path.stem for path in ROOT.glob("*.py")} - {"__init__"}
    assert set(mypy["modules"]) == scripts | {"concept_attention_pack"}  # the pack's own __init__.py
