"""Loading the pack: imported modules, the message for an old ComfyUI, and published files."""

from __future__ import annotations

import asyncio
import importlib
import json
import logging
import subprocess
import sys
from pathlib import Path

import pytest

from .conftest import Pack

ROOT = Path(__file__).resolve().parents[2]

LOAD = """
import asyncio, importlib, json, sys, time
from tests.support.comfyui.boot import boot
boot()
host = importlib.import_module("nodes")
importlib.import_module("comfy_extras.nodes_custom_sampler")  # as ComfyUI does before it loads packs
before = set(sys.modules)
assert asyncio.run(host.load_custom_node(sys.argv[1], set()))
print(json.dumps(sorted(set(sys.modules) - before)))
"""


def test_loading_imports_the_pack_and_little_else() -> None:
    """No matplotlib and no diffusers in particular: they would slow ComfyUI's start down."""
    run = subprocess.run([sys.executable, "-c", LOAD, str(ROOT)], cwd=ROOT, capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stderr
    loaded = json.loads(run.stdout.splitlines()[-1])
    own = str(ROOT).replace(".", "_x_")
    foreign = {name.split(".")[0] for name in loaded if not name.startswith(own)}
    assert not foreign & {"matplotlib", "diffusers", "concept_attention", "accelerate", "pandas", "sklearn"}, foreign
    assert f"{own}.nodes.extension" in loaded
    assert not any(f"{own}.concept_attention.{name}" in loaded for name in ("cli", "hosts.diffusers", "tiny.training"))


def test_the_root_imports_nothing_of_the_host() -> None:
    program = (
        "import importlib.util, sys\n"
        "spec = importlib.util.spec_from_file_location('a-pack', sys.argv[1])\n"
        "module = importlib.util.module_from_spec(spec)\n"
        "spec.loader.exec_module(module)\n"
        "assert callable(module.comfy_entrypoint)\n"
        "assert not {'torch', 'comfy', 'comfy_api', 'comfyui_version', 'nodes', 'einops'} & set(sys.modules)\n"
    )
    run = subprocess.run(
        [sys.executable, "-c", program, str(ROOT / "__init__.py")], capture_output=True, text=True, check=False
    )
    assert run.returncode == 0, run.stderr


def test_the_front_end_s_folder_holds_scripts_and_help_only(pack: Pack) -> None:
    """Every script in it is imported by every browser."""
    web = ROOT / sys.modules[pack.name].WEB_DIRECTORY  # type: ignore[attr-defined]
    assert {path.suffix for path in web.rglob("*") if path.is_file()} == {".css", ".jpg", ".js", ".md"}


@pytest.mark.parametrize("version", ["0.18.9", "0.3.75", "0.18.9+local.5"])
def test_an_old_comfyui_gets_one_clear_line_and_no_nodes(
    pack: Pack, version: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("comfyui_version.__version__", version)
    host = importlib.import_module("nodes")
    monkeypatch.setattr(host, "NODE_CLASS_MAPPINGS", {})
    with caplog.at_level(logging.INFO):
        assert not asyncio.run(host.load_custom_node(str(ROOT), set()))
    assert host.NODE_CLASS_MAPPINGS == {}
    (line,) = [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING]
    assert line.endswith(f"ConceptAttention needs ComfyUI 0.19.0 or newer, this is {version}. Update ComfyUI.")
    assert "\n" not in line and "Traceback" not in line


@pytest.mark.parametrize("version", ["0.19.0", "0.19.3", "0.33.0", "0.100.1", "1.0", "v0.45.2"])
def test_newer_versions_are_fine(pack: Pack, version: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("comfyui_version.__version__", version)
    sys.modules[pack.name]._check_version()  # type: ignore[attr-defined]


def test_the_registry_is_told_the_same(pack: Pack) -> None:
    tomllib = pytest.importorskip("tomllib")
    content = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    comfy = content["tool"]["comfy"]
    minimum = ".".join(map(str, sys.modules[pack.name].MINIMUM_COMFYUI))  # type: ignore[attr-defined]
    assert comfy["requires-comfyui"] == f">={minimum}"
    assert comfy["PublisherId"] and comfy["DisplayName"] == "ConceptAttention"
    assert (ROOT / comfy["Icon"]).is_file()
    assert "web" not in comfy  # it would be served under the project's name, where help pages are not looked for
    assert not any(name.lower().startswith("torch") for name in content["project"]["dependencies"])


def test_what_only_developers_need_is_not_published() -> None:
    lines = (ROOT / ".comfyignore").read_text(encoding="utf-8").splitlines()
    ignored = {line.rstrip("/") for line in lines if line and not line.startswith("#")}
    assert {"tests", "benchmarks", ".ci", "dev.py"} <= ignored
    needed = {"__init__.py", "concept_attention", "nodes", "web", "locales", "pyproject.toml", "requirements.txt"}
    assert not needed & ignored and all((ROOT / name).exists() for name in needed)
