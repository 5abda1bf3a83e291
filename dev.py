"""The two commands of a checkout. Each makes the checkout's own environment, .venv, on first use.

    python dev.py demo [--out DIR]       draw a picture from a sentence and show where its concepts are
    python dev.py test [PYTEST OPTIONS]  lint, types and tests; where there is a ComfyUI, also inside that

One file and the standard library, so that a bare Python on Linux, macOS or Windows can run it. The syntax is
Python 3.6's, without postponed annotations: an older Python must read it in order to say that it is too old.
"""

import argparse
import contextlib
import hashlib
import importlib.util
import json
import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

if sys.version_info < (3, 10):  # noqa: UP036 - said to those who run an older one
    sys.stderr.write(f"error: dev.py needs Python 3.10 or newer, this is {sys.version.split()[0]}.\n")
    sys.exit(2)

ROOT = Path(__file__).resolve().parent
INPUTS = ("pyproject.toml", "constraints.txt")  # a change in these updates the environment
LOCK = "dev.lock"  # in .venv: dev.py made this folder; locked while it is being filled
STAMP = "dev.json"  # in .venv, written last: what is installed
LOG = "install.log"  # in .venv
DISK_GB = 2.1  # 1.5 installed, and room for pip to unpack
HOST_DISK_GB = 1.0  # as much again for what ComfyUI needs: 0.8 installed
HOST_VARIABLE = "COMFYUI_PATH"
HOST_LIST = "comfyui.txt"  # in .venv: that ComfyUI's requirements, without
HOST_LEFT_OUT = {
    *("torch", "torchvision", "torchaudio"),  # what has to fit the torch that is there, and
    *("comfyui-workflow-templates", "comfyui-embedded-docs"),  # 400 MB of examples and help
}
HOST_ASIDE = "comfyui"  # in .venv: packages that nothing but a ComfyUI may see
TYPESCRIPT = "5.9.3"  # checks the types of what browsers load
PACK = "pack/concept_attention_pack"  # in .venv: a link to the checkout, see [tool.mypy] in pyproject.toml
TYPES = "tests/web/tsconfig.json"  # which files, and how strictly
DEMO_PROMPT = "a mountain and a boat on water under a sun in the sky"
DEMO_CONCEPTS = ("boat", "sun", "mountain", "water", "sky", "moon")
DEMO_SEED = "4"

AGAIN = "then run this again."
APT = "On Debian and Ubuntu run `sudo apt install python3-venv`"
CAUSES = (  # what pip, venv or the system say, and what to do about it
    (
        r"No space left|not enough space|Errno 28\b",
        f"The disk of the project or of temporary files is full: free 2 GB (7 GB with CUDA), {AGAIN}",
    ),
    (r"ensurepip is not\s+available", f"{APT}, {AGAIN}"),
    (
        r"NewConnectionError|name ?resolution|getaddrinfo|Name or service not known|time(d |-)?out|"
        r"Max retries|ProxyError|SSLError|Connection (refused|reset|broken)|Could not fetch URL",
        f"Check the network, and the proxy and package index that pip is set to use, {AGAIN}",
    ),
    (r"Permission denied|Read-only|Access is denied", f"Put the project in a folder of your own, {AGAIN}"),
    (r"No matching distribution found for torch", "Use a 64-bit Python 3.10-3.14; a Mac needs M1 or newer."),
)


class SetupError(Exception):
    """The environment cannot be made; the text says why and what to do."""


def main(argv: Sequence[str]) -> int:
    """Run one command and return its exit code: 0, 1 (a check failed), 2 (cannot start) or 130 (Ctrl-C)."""
    parser = argparse.ArgumentParser(prog="dev.py", description="Make this checkout's own environment, then:")
    commands = parser.add_subparsers(dest="command", required=True, metavar="demo | test")
    demo = commands.add_parser("demo", help="draw a picture and show where its concepts are")
    demo.add_argument("--out", type=Path, default=ROOT / "demo_output", help="folder to fill (demo_output)")
    commands.add_parser("test", help="lint, types and tests; further options go to pytest")
    options, rest = parser.parse_known_args(argv)
    if rest and options.command == "demo":
        parser.error("demo does not know " + " ".join(rest))
    try:
        if options.command == "demo":
            return run_demo(ensure_environment(ROOT, ["standalone"]), options.out.absolute())
        python = ensure_environment(ROOT, ["dev", "standalone"], find_comfyui(ROOT))
        link_pack(ROOT)
        return run_checks(checks(python, ensure_typescript(ROOT), rest))
    except SetupError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("\nInterrupted.", file=sys.stderr)
        return 130


def run_demo(python: Path, out: Path) -> int:
    """Generate a picture with heatmaps, analyze that picture, and say which files to look at."""
    generated, analyzed = out / "generated", out / "analyzed"
    options = ["--concepts", *DEMO_CONCEPTS, "--seed", DEMO_SEED]
    for command, subject, folder in (
        ("generate", DEMO_PROMPT, generated),
        ("analyze", str(generated / "image.png"), analyzed),
    ):
        print(f"\n== {command}: {subject}", flush=True)
        arguments = ["-m", "concept_attention", command, subject, *options, "--out", str(folder)]
        code = subprocess.call([str(python), *arguments], cwd=ROOT, env=tool_environment())
        if code:
            print(f"The demo stopped: {command} failed with exit code {code}.", file=sys.stderr)
            return code
    print("\nOpen first:")
    print(f"  {generated / 'segmentation.png'}   which concept is where")
    print(f"  {generated / 'overlay.png'}   one heatmap per concept")
    print(f"  {analyzed / 'segmentation.png'}   the same, found in the finished picture")
    print("The sentence has no moon: that heatmap shows what absence looks like.")
    return 0


def checks(python: Path, tsc: Sequence[str], pytest_arguments: Sequence[str]) -> dict[str, list[str]]:
    """The command of every check, by name; an empty one cannot be run here."""
    ours = {"ruff": ["check", "."], "mypy": [], "pytest": list(pytest_arguments)}
    commands = {name: [str(python), "-m", name, *rest] for name, rest in ours.items()}
    return {"ruff": commands["ruff"], "mypy": commands["mypy"], "tsc": list(tsc), "pytest": commands["pytest"]}


def run_checks(commands: Mapping[str, Sequence[str]]) -> int:
    """Run every check, also after one failed, and end with one line that says how it went."""
    results, failed = [], False
    for name, command in commands.items():
        if not command:
            results.append(f"{name} NOT RUN")
            continue
        print(f"== {name}", flush=True)
        began = time.monotonic()
        code = subprocess.call(command, cwd=ROOT, env=tool_environment())
        failed = failed or code != 0
        result = f"failed with exit code {code}" if code else "passed"
        results.append(f"{name} {result} ({time.monotonic() - began:.0f} s)")
    print(f"{'FAILED' if failed else 'PASSED'}: {', '.join(results)}", flush=True)
    return int(failed)


def tool_environment() -> dict[str, str]:
    """Variables for what runs in .venv: no packages from elsewhere, no model hub, no questions from pip."""
    foreign = {"PYTHONPATH", "PYTHONHOME", "PIP_TARGET", "PIP_PREFIX"}
    kept = {name: value for name, value in os.environ.items() if name not in foreign}
    ours = {"HF_HUB_OFFLINE": "1", "PIP_USER": "0", "PIP_NO_INPUT": "1", "PIP_DISABLE_PIP_VERSION_CHECK": "1"}
    return {**kept, **ours}


def find_comfyui(root: Path) -> Path | None:
    """The ComfyUI to test with; None if there is none. The tests find theirs by this function too.

    Looked for in this order: the folder that COMFYUI_PATH names, the ComfyUI around the checkout `root` (when it lies
    in custom_nodes), ~/comfy/ComfyUI (where comfy-cli puts it).

    Raises:
        SetupError: if COMFYUI_PATH is set and names no ComfyUI: who names one wants it tested.
    """
    named = os.environ.get(HOST_VARIABLE)
    places = [Path(named).expanduser()] if named else [*root.parents, Path.home() / "comfy" / "ComfyUI"]
    for place in places:
        if all((place / name).is_file() for name in ("main.py", "requirements.txt", "comfy/sd.py")):
            return place.resolve()
    if named:
        raise SetupError(f"{HOST_VARIABLE} is {named}, which holds no ComfyUI (main.py, comfy/sd.py). Correct it.")
    return None


def ensure_environment(root: Path, extras: Sequence[str], comfyui: Path | None = None) -> Path:
    """Make or update `root/.venv` where that is needed.

    Args:
        root: the checkout, with pyproject.toml and constraints.txt.
        extras: optional dependencies of pyproject.toml that the command needs.
        comfyui: folder of a ComfyUI whose requirements the command needs as well.

    Returns:
        The environment's Python.

    Raises:
        SetupError: with what to do.
    """
    folder = root / ".venv"
    python = folder / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
    wanted = {
        "folder": str(folder),
        "python": "{}.{}".format(*sys.version_info[:2]),
        "digest": digest(*(root / name for name in INPUTS)),
    }
    if comfyui is not None:
        wanted["comfyui"] = digest(comfyui / "requirements.txt")
    if not is_ready(folder, python, wanted, extras):
        try:
            with alone(folder):
                if not is_ready(folder, python, wanted, extras):  # another dev.py may have made it meanwhile
                    make(folder, python, wanted, extras, comfyui)
        except OSError as error:
            advice = explain(str(error)) or f"Delete it, {AGAIN}"
            raise SetupError(f"{folder} cannot be made: {error}. {advice}") from error
    return python


def digest(*files: Path) -> str:
    """What changes as soon as one of the files does."""
    return hashlib.sha256(b"\0".join(file.read_bytes() for file in files)).hexdigest()


def is_ready(folder: Path, python: Path, wanted: Mapping[str, str], extras: Sequence[str]) -> bool:
    """Whether the environment is finished, up to date and has these extras."""
    stamp = read_stamp(folder)
    same = all(stamp.get(key) == value for key, value in wanted.items())
    return same and set(extras) <= set(stamp["extras"]) and runs(python)


def make(folder: Path, python: Path, wanted: Mapping[str, str], extras: Sequence[str], comfyui: Path | None) -> None:
    """Install what is missing; from nothing where the environment is half-made, moved or another Python's."""
    stamp = read_stamp(folder)
    extras = sorted({*extras, *stamp.get("extras", ())})
    usable = all(stamp.get(key) == wanted[key] for key in ("folder", "python")) and runs(python)
    (folder / STAMP).unlink(missing_ok=True)  # from here on the environment is half-made
    if usable:
        print(f"Updating {folder}", flush=True)
    else:
        create(folder, DISK_GB + HOST_DISK_GB if comfyui else DISK_GB)
    install(folder, python, extras)
    if comfyui is not None:
        install_comfyui(folder, python, comfyui)
    part = folder / (STAMP + ".part")
    part.write_text(json.dumps({**wanted, "extras": extras}, indent=1), encoding="utf-8")
    part.replace(folder / STAMP)
    print(f"Ready: {folder}", flush=True)


def create(folder: Path, disk_gb: float) -> None:
    """Make an empty virtual environment, in place of what an earlier run left behind."""
    if Path(sys.prefix).resolve() == folder.resolve():
        raise SetupError(f"{folder} must be made anew. Run dev.py with a Python from outside it.")
    if not all(importlib.util.find_spec(module) for module in ("venv", "ensurepip")):
        advice = f"{APT}, elsewhere install Python from python.org, {AGAIN}"
        raise SetupError(f"this Python lacks its venv or ensurepip module. {advice}")
    leftover = [path for path in folder.iterdir() if path.name != LOCK]
    if leftover:
        print(f"Removing an outdated or half-made environment: {folder}", flush=True)
    for path in leftover:
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink()
    free = shutil.disk_usage(folder).free / 1e9
    if free < disk_gb:
        raise SetupError(f"{folder} takes {disk_gb:.0f} GB and {free:.1f} GB are free. Make room, {AGAIN}")
    version = sys.version.split()[0]
    print(f"Making {folder} with Python {version}: 350 MB to download in all, 1.5 GB on disk", flush=True)
    logged(folder, [sys.executable, "-m", "venv", str(folder)], "the environment could not be made")


def install(folder: Path, python: Path, extras: Sequence[str]) -> None:
    """Install torch alone and pinned, so that nothing else chooses another one, then the project."""
    constraints = folder.parent / "constraints.txt"
    pin = re.search(r"^torch==(\S+)", constraints.read_text(encoding="utf-8"), re.MULTILINE)
    if pin is None:
        raise SetupError(f"constraints.txt has no line `torch==VERSION`. Bring it back with git, {AGAIN}")
    pip = [str(python), "-m", "pip", "install", "--quiet"]
    # With setuptools in place the project needs no isolated build, and later updates need no network.
    logged(folder, [*pip, "pip>=21.3", "setuptools>=77"], "pip and setuptools could not be installed")
    installed = f"from importlib.metadata import version; assert version('torch').split('+')[0] == '{pin[1]}'"
    if not runs(python, installed):
        size = "about 200 MB"
        if sys.platform == "linux":  # where the default build brings CUDA along
            size += "; 3 GB if pip finds the CUDA build first: PIP_EXTRA_INDEX_URL can name PyTorch's CPU index"
        print(f"Installing {pin[0]} ({size})", flush=True)
        logged(folder, [*pip, pin[0]], f"{pin[0]} could not be installed")
    print(f"Installing concept-attention for {' and '.join(extras)} (up to 170 MB)", flush=True)
    project = ["-c", constraints.name, "--no-build-isolation", "-e", f".[{','.join(extras)}]"]
    logged(folder, [*pip, *project], "what the project needs could not be installed")


def install_comfyui(folder: Path, python: Path, comfyui: Path) -> None:
    """Install what a ComfyUI needs beside the project: its own list, without HOST_LEFT_OUT and without a new torch.

    Some of it asks for torchvision, and pip may choose a build for another torch (one with CUDA, say). That one does
    not import, and transformers stops at the sight of it, so it is put aside, where only dev_comfyui.py looks, which
    does without its compiled part.
    """
    print(f"Installing what {comfyui} needs (about 200 MB)", flush=True)
    lines = (comfyui / "requirements.txt").read_text(encoding="utf-8").splitlines()
    names = [re.split(r"[^\w.-]", line.strip(), maxsplit=1)[0].lower().replace("_", "-") for line in lines]
    kept = [line for line, name in zip(lines, names, strict=True) if name not in HOST_LEFT_OUT]
    (folder / HOST_LIST).write_text("\n".join(kept) + "\n", encoding="utf-8")
    pip = [str(python), "-m", "pip", "install", "--quiet"]
    failure = f"what {comfyui} needs could not be installed"
    logged(folder, [*pip, "-c", "constraints.txt", "-r", str(folder / HOST_LIST)], failure)
    aside = folder / HOST_ASIDE
    shutil.rmtree(aside, ignore_errors=True)
    if runs(python, "import torchvision"):
        return
    version = asked(python, "from importlib.metadata import version; print(version('torchvision'))").stdout.strip()
    wanted = "torchvision" + (f"=={version}" if version else "")
    logged(folder, [*pip, "--no-deps", "--target", str(aside), wanted], failure)
    if version:
        logged(folder, [str(python), "-m", "pip", "uninstall", "--quiet", "--yes", "torchvision"], failure)


def link_pack(root: Path) -> None:
    """Link the checkout into .venv, under a name that mypy can read the pack by."""
    link = root / ".venv" / PACK
    if not link.exists():
        link.parent.mkdir(exist_ok=True)
        if os.name == "nt":  # a junction needs no privilege
            subprocess.run(["cmd", "/c", "mklink", "/J", str(link), str(root)], check=True, capture_output=True)  # noqa: S607
        else:
            link.symlink_to(root, target_is_directory=True)


def ensure_typescript(root: Path) -> list[str]:
    """The command that checks the types of what browsers load; TypeScript is installed into .venv on first use.

    Returns:
        Empty where there is no npm, or it cannot install: that is said, and everything else is checked all the same.
    """
    folder, node, npm = root / ".venv", shutil.which("node"), shutil.which("npm")
    package = folder / "node_modules" / "typescript"
    try:
        if not (node and npm):
            raise SetupError("there is no npm. Install Node.js from nodejs.org")
        with alone(folder):
            if not is_typescript(package):
                print(f"Installing TypeScript {TYPESCRIPT} (23 MB on disk)", flush=True)
                command = [npm, "install", "--prefix", str(folder), "--no-save", "--no-package-lock", "--no-audit"]
                logged(folder, [*command, f"typescript@{TYPESCRIPT}"], "TypeScript could not be installed")
    except SetupError as error:
        print(f"NOT RUN: tsc, which checks the types in web/: {error}", file=sys.stderr, flush=True)
        return []
    return [node, str(package / "bin" / "tsc"), "--project", TYPES]


def is_typescript(package: Path) -> bool:
    """Whether this folder has the TypeScript that the project is checked with."""
    try:
        return bool(json.loads((package / "package.json").read_text(encoding="utf-8"))["version"] == TYPESCRIPT)
    except (OSError, ValueError, KeyError, TypeError):
        return False


def read_stamp(folder: Path) -> dict[str, Any]:
    """What the environment holds; empty if it was never finished."""
    try:
        stamp = json.loads((folder / STAMP).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return stamp if isinstance(stamp, dict) and isinstance(stamp.get("extras"), list) else {}


def runs(python: Path, code: str = "") -> bool:
    """Whether the environment's Python runs this; nothing runs once the Python it was made with is gone."""
    try:
        return asked(python, code).returncode == 0
    except OSError:
        return False


def asked(python: Path, code: str) -> subprocess.CompletedProcess[str]:
    """What the environment's Python says to this, with nothing but the environment's packages."""
    command = [str(python), "-c", code]
    return subprocess.run(command, env=tool_environment(), capture_output=True, text=True, check=False)


@contextlib.contextmanager
def alone(folder: Path) -> Iterator[None]:
    """Hold the environment's lock, after waiting for another dev.py in this checkout."""
    if folder.exists() and not (folder / LOCK).exists() and any(folder.iterdir()):
        raise SetupError(f"{folder} was not made by dev.py. Move it away or delete it, {AGAIN}")
    folder.mkdir(exist_ok=True)
    with open(folder / LOCK, "a", encoding="utf-8") as file:
        if not locked(file.fileno()):
            print("Waiting for another dev.py that is installing here", flush=True)
            while not locked(file.fileno()):
                time.sleep(0.5)
        yield  # closing the file releases the lock, and so does the end of this process


def locked(descriptor: int) -> bool:
    """Lock an open file unless another process has locked it."""
    try:
        if sys.platform == "win32":
            import msvcrt

            msvcrt.locking(descriptor, msvcrt.LK_NBLCK, 1)
        else:
            import fcntl

            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except (BlockingIOError, PermissionError):
        return False
    return True


def logged(folder: Path, command: Sequence[str], failure: str) -> None:
    """Run a command silently in the checkout; where it fails, show the end of what it said and what to do."""
    with open(folder / LOG, "w+b") as log:
        process = subprocess.Popen(
            command, cwd=folder.parent, env=tool_environment(), stdout=log, stderr=subprocess.STDOUT
        )
        try:
            code = wait(process)
        except BaseException:
            process.terminate()
            process.wait()
            raise
        if code:
            log.seek(0)
            said = log.read().decode("utf-8", errors="replace").strip()
            lines = said.splitlines()
            errors = [line for line in lines if not line.startswith("WARNING: ")] or lines
            print("\n".join("  | " + line for line in errors[-12:]), file=sys.stderr)
            raise SetupError(f"{failure}. " + (explain(said) or f"Mend what pip says above, {AGAIN}"))


def wait(process: subprocess.Popen[bytes]) -> int:
    """Wait for a silent process; a person at a terminal sees the seconds pass."""
    began, clock = time.monotonic(), sys.stdout.isatty()
    while True:
        try:
            return process.wait(timeout=1)
        except subprocess.TimeoutExpired:
            if clock:
                print(f"  {time.monotonic() - began:.0f} s", end="\r", flush=True)


def explain(said: str) -> str:
    """What to do about a failure, judged by its words; empty if they say too little."""
    return next((advice for words, advice in CAUSES if re.search(words, said, re.IGNORECASE)), "")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
