"""The two commands of a checkout. Both make or update its virtual environment, .venv, where that is needed.

    python dev.py demo [--out DIR]       generate an image from a sentence and show where its concepts are
    python dev.py test [PYTEST OPTIONS]  run ruff, mypy, tsc and pytest; with a ComfyUI, also the tests inside it

Standard library only, so that a bare Python on Linux, macOS or Windows can run it. The syntax is Python 3.6's, without
postponed annotations: an older Python must be able to read this file in order to say that it is too old.
"""

import argparse
import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

if sys.version_info < (3, 10):  # noqa: UP036 - for those who run an older one
    sys.stderr.write(f"error: dev.py needs Python 3.10 or newer, this is {sys.version.split()[0]}.\n")
    sys.exit(2)

ROOT = Path(__file__).resolve().parent
STAMP = "dev.json"  # in .venv: what is installed there, written last; without content while packages are installed
# Requirements of ComfyUI that must fit the installed torch, and 400 MB of example workflows and help pages.
COMFYUI_LEFT_OUT = r"(?i)(torch(vision|audio)?|comfyui[-_](workflow[-_]templates|embedded[-_]docs))(?![\w-])"
TYPESCRIPT = "5.9.3"
WHOLE_SUITE = ("-n", "logical", "--maxprocesses", "4", "--dist", "loadgroup")  # pytest-xdist: a process per core
DEMO_PROMPT = "a mountain and a boat on water under a sun in the sky"
DEMO_OPTIONS = ("--concepts", "boat", "sun", "mountain", "water", "sky", "moon", "--seed", "4")


class SetupError(Exception):
    """The environment cannot be made; the text says why and what to do."""


def main(argv: Sequence[str]) -> int:
    """Run one command and return its exit code: 0, 1 (a check failed), 2 (cannot start) or 130 (Ctrl-C)."""
    parser = argparse.ArgumentParser(prog="dev.py", description="Make or update this checkout's .venv, then:")
    commands = parser.add_subparsers(dest="command", required=True, metavar="demo | test")
    demo = commands.add_parser("demo", help="generate an image and show where its concepts are")
    demo.add_argument("--out", type=Path, default=ROOT / "demo_output", help="output folder (demo_output)")
    commands.add_parser("test", help="lint, types and tests; further options go to pytest")
    options, rest = parser.parse_known_args(argv)
    if rest and options.command == "demo":
        parser.error("demo does not know " + " ".join(rest))
    try:
        if options.command == "demo":
            return run_demo(ensure_environment(ROOT, ["standalone"]), options.out.absolute())
        python = str(ensure_environment(ROOT, ["dev", "standalone"], find_comfyui(ROOT)))
        link_pack(ROOT)
        checks = {
            "ruff": [python, "-m", "ruff", "check", "."],
            "mypy": [python, "-m", "mypy"],
            "tsc": typescript_command(ROOT),
            "pytest": [python, "-m", "pytest", *(rest or WHOLE_SUITE)],
        }
        return run_checks(checks)
    except (SetupError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("\nInterrupted.", file=sys.stderr)
        return 130


def run_demo(python: Path, out: Path) -> int:
    """Generate an image with heatmaps, analyze that image, and say which files to look at."""
    generated, analyzed = out / "generated", out / "analyzed"
    image = str(generated / "image.png")
    for command, subject, folder in ("generate", DEMO_PROMPT, generated), ("analyze", image, analyzed):
        print(f"\n== {command}: {subject}", flush=True)
        code = call([str(python), "-m", "concept_attention", command, subject, *DEMO_OPTIONS, "--out", str(folder)])
        if code:
            print(f"The demo stopped: {command} failed with exit code {code}.", file=sys.stderr)
            return code
    print("\nOpen first:")
    print(f"  {generated / 'segmentation.png'}   which concept is where")
    print(f"  {generated / 'overlay.png'}   one heatmap per concept")
    print(f"  {analyzed / 'segmentation.png'}   the same, found in the finished image")
    print("The sentence has no moon: that heatmap shows what absence looks like.")
    return 0


def run_checks(commands: Mapping[str, Sequence[str]]) -> int:
    """Run every check, even if one fails, and end with one line of results; an empty command cannot be run here."""
    codes: dict[str, int | None] = {}
    for name, command in commands.items():
        print(f"== {name}", flush=True)
        codes[name] = call(command) if command else None
    words = {None: "NOT RUN", 0: "passed"}
    results = [f"{name} {words.get(code, f'failed with exit code {code}')}" for name, code in codes.items()]
    failed = any(codes.values())
    print(f"{'FAILED' if failed else 'PASSED'}: {', '.join(results)}", flush=True)
    return int(failed)


def call(command: Sequence[str]) -> int:
    """Run a command in the checkout, without packages from elsewhere, the model hub and questions from pip."""
    foreign = {"PYTHONPATH", "PYTHONHOME", "PIP_TARGET", "PIP_PREFIX"}
    own = {"HF_HUB_OFFLINE": "1", "PIP_USER": "0", "PIP_NO_INPUT": "1", "PIP_DISABLE_PIP_VERSION_CHECK": "1"}
    kept = {name: value for name, value in os.environ.items() if name not in foreign}
    return subprocess.call(command, cwd=ROOT, env={**kept, **own})


def install(python: Path, *arguments: str) -> None:
    """Run `pip install`; what pip has to say about a failure stands above the error."""
    if call([str(python), "-m", "pip", "install", "--quiet", *arguments]):
        raise SetupError(f"pip could not install {' '.join(arguments)}. See its message above, then run this again.")


def find_comfyui(root: Path) -> Path | None:
    """Find the ComfyUI to test with; None if there is none. The tests use this function too.

    It is the folder that COMFYUI_PATH names (an error if that holds none); without this variable the one around the
    checkout `root` (if that lies in custom_nodes), else ~/comfy/ComfyUI (where comfy-cli puts it).
    """
    named = os.environ.get("COMFYUI_PATH")
    places = [Path(named).expanduser()] if named else [*root.parents, Path.home() / "comfy" / "ComfyUI"]
    for place in places:
        if all((place / name).is_file() for name in ("main.py", "requirements.txt", "comfy/sd.py")):
            return place.resolve()
    if named:
        raise SetupError(f"COMFYUI_PATH is {named}, which holds no ComfyUI (main.py, comfy/sd.py). Correct it.")
    return None


def ensure_environment(root: Path, extras: Sequence[str], comfyui: Path | None = None) -> Path:
    """Make or update `root/.venv` if it lacks something; returns its Python.

    It holds the project with the `extras` of pyproject.toml and, if one is given, the requirements of a ComfyUI. Extras
    that are installed already stay.
    """
    folder = root / ".venv"
    python = folder / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
    base = {"folder": str(folder), "python": "{}.{}".format(*sys.version_info[:2])}
    inputs = root / "pyproject.toml", root / "constraints.txt"
    wanted: dict[str, object] = {**base, "digest": digest(*inputs), **dict.fromkeys(extras, True)}
    if comfyui:
        wanted["comfyui"] = digest(comfyui / "requirements.txt")
    try:
        installed = json.loads((folder / STAMP).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        installed = {}
    if python.exists() and wanted.items() <= installed.items():
        return python
    if python.exists() and base.items() <= installed.items():
        print(f"Updating {folder}", flush=True)
        (folder / STAMP).write_text("{}", encoding="utf-8")  # if this is interrupted, the next run starts anew
    else:
        create_environment(folder)
    extras = sorted({*extras, *(installed.keys() & {"dev", "standalone"})})
    install_project(root, python, extras)
    if comfyui:
        install_comfyui(folder, python, comfyui)
    stamp = {**wanted, **dict.fromkeys(extras, True)}
    (folder / STAMP).write_text(json.dumps(stamp, indent=1), encoding="utf-8")
    print(f"Ready: {folder}", flush=True)
    return python


def digest(*files: Path) -> str:
    """SHA-256 of the contents of the files."""
    return hashlib.sha256(b"\0".join(file.read_bytes() for file in files)).hexdigest()


def create_environment(folder: Path) -> None:
    """Make an empty virtual environment, in place of an outdated or unfinished one."""
    if (folder / "pyvenv.cfg").exists() and not any(folder.glob("dev.*")):
        raise SetupError(f"{folder} was not made by dev.py. Move it away or delete it, then run this again.")
    if Path(sys.prefix).resolve() == folder.resolve():
        raise SetupError(f"{folder} must be made anew. Run dev.py with a Python from outside it.")
    print(f"Making {folder}: about 350 MB to download, 1.5 GB on disk", flush=True)
    if folder.exists():
        shutil.rmtree(folder)
    folder.mkdir()
    (folder / STAMP).write_text("{}", encoding="utf-8")
    if call([sys.executable, "-m", "venv", str(folder)]):
        raise SetupError("venv could not make the environment. See its message above, then run this again.")


def install_project(root: Path, python: Path, extras: Sequence[str]) -> None:
    """Install torch pinned and alone, so that nothing else chooses another build, then the project."""
    constraints = root / "constraints.txt"
    torch = next(line for line in constraints.read_text(encoding="utf-8").splitlines() if line.startswith("torch=="))
    # With setuptools in place the project needs no isolated build, and later updates need no network.
    install(python, "pip>=21.3", "setuptools>=77")
    print(f"Installing {torch}; on Linux PIP_EXTRA_INDEX_URL can name an index of builds without CUDA", flush=True)
    install(python, torch)
    print(f"Installing concept-attention for {' and '.join(extras)}", flush=True)
    install(python, "-c", str(constraints), "--no-build-isolation", "-e", f"{root}[{','.join(extras)}]")


def install_comfyui(folder: Path, python: Path, comfyui: Path) -> None:
    """Install ComfyUI's requirements without COMFYUI_LEFT_OUT and without replacing torch.

    Some of them ask for torchvision, and pip may choose a build for another torch (one with CUDA, say). That one cannot
    be imported, and transformers fails where it finds it. So it is moved to a folder that only dev_comfyui.py reads,
    which does without its compiled part.
    """
    print(f"Installing the requirements of {comfyui}", flush=True)
    lines = (comfyui / "requirements.txt").read_text(encoding="utf-8").splitlines()
    requirements, apart = folder / "comfyui.txt", folder / "comfyui"
    kept = [line for line in lines if not re.match(COMFYUI_LEFT_OUT, line)]
    requirements.write_text("\n".join(kept), encoding="utf-8")
    install(python, "-c", str(folder.parent / "constraints.txt"), "-r", str(requirements))
    shutil.rmtree(apart, ignore_errors=True)
    if output_of(python, "import torchvision") is None:
        version = output_of(python, "from importlib.metadata import version; print(version('torchvision'))")
        requirement = f"torchvision=={version}" if version else "torchvision"
        install(python, "--no-deps", "--target", str(apart), requirement)
        call([str(python), "-m", "pip", "uninstall", "--quiet", "--yes", "torchvision"])


def output_of(python: Path, code: str) -> str | None:
    """What the code prints in the environment; None if it fails."""
    run = subprocess.run([str(python), "-I", "-c", code], capture_output=True, text=True, check=False)
    return None if run.returncode else run.stdout.strip()


def link_pack(root: Path) -> None:
    """Link the checkout into .venv under a name that mypy can import the pack by; see [tool.mypy] in pyproject.toml."""
    link = root / ".venv" / "pack" / "concept_attention_pack"
    if not link.exists():
        link.parent.mkdir(exist_ok=True)
        if os.name == "nt":  # a junction needs no privilege
            subprocess.run(["cmd", "/c", "mklink", "/J", str(link), str(root)], check=True, capture_output=True)  # noqa: S607
        else:
            link.symlink_to(root, target_is_directory=True)


def typescript_command(root: Path) -> list[str]:
    """The command that checks the types in web/, after installing TypeScript if needed; empty without a working npm."""
    node, npm = shutil.which("node"), shutil.which("npm")
    folder = root / ".venv" / f"typescript-{TYPESCRIPT}"
    tsc = folder / "node_modules" / "typescript" / "bin" / "tsc"
    if npm and not tsc.exists():
        options = ["--prefix", str(folder), "--no-save", "--no-package-lock", "--no-audit", "--loglevel=error"]
        call([npm, "install", *options, f"typescript@{TYPESCRIPT}"])
    if not (node and tsc.exists()):
        print("NOT RUN: tsc, as npm is missing or failed. Install Node.js from nodejs.org.", flush=True)
        return []
    return [node, str(tsc), "--project", "tests/web/tsconfig.json"]


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
