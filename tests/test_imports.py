"""The core knows no host: importing it loads neither ComfyUI nor a model library, and no plotting."""

from __future__ import annotations

import ast
import importlib
import json
import pkgutil
import subprocess
import sys
from pathlib import Path

import pytest

PACKAGE = Path(__file__).resolve().parents[1] / "concept_attention"
NOT_CORE = {"authors", "hosts", "labelling", "tiny", "cli", "__main__"}
HOSTS = {"comfy", "folder_paths", "server", "diffusers", "transformers", "concept_attention.hosts"}
ON_DEMAND = {"matplotlib", "scipy", "av", "pillow_heif"}  # they come with their first use
FOREIGN = HOSTS | ON_DEMAND | {"concept_attention.tiny"}
ALLOWED = sys.stdlib_module_names | ON_DEMAND | {"torch", "einops", "numpy", "PIL", "safetensors", "contourpy"}


def core_files() -> list[Path]:
    """Every source file of the core, found rather than listed, so that new ones are held to the same rule."""
    files = sorted(PACKAGE.rglob("*.py"))
    return [file for file in files if file.relative_to(PACKAGE).with_suffix("").parts[0] not in NOT_CORE]


def labelling_files() -> list[Path]:
    """What reads and writes labelled data sets, without the model's part."""
    return [file for file in sorted((PACKAGE / "labelling").rglob("*.py")) if file.name != "labeller.py"]


def module_name(file: Path) -> str:
    parts = file.relative_to(PACKAGE.parent).with_suffix("").parts
    return ".".join(part for part in parts if part != "__init__")


def roots(tree: ast.AST) -> set[str]:
    """Top-level packages that import statements anywhere below this node name; relative imports left out."""
    found = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.level == 0 and node.module:
            found.add(node.module.split(".")[0])
    return found


def test_importing_the_core_loads_no_host_and_no_plotting() -> None:
    names = [module_name(file) for file in (*core_files(), *labelling_files())]
    program = (
        "import importlib, json, sys\n"
        "loaded = {}\n"
        f"for name in {names!r}:\n"
        "    importlib.import_module(name)\n"
        f"    loaded[name] = sorted({FOREIGN!r} & set(sys.modules))\n"
        "print(json.dumps(loaded))\n"
    )
    run = subprocess.run(
        [sys.executable, "-c", program], cwd=PACKAGE.parent, capture_output=True, text=True, check=False
    )
    assert run.returncode == 0, run.stderr
    assert json.loads(run.stdout.splitlines()[-1]) == {name: [] for name in names}


def test_the_core_is_found_whole() -> None:
    top = {module.name for module in pkgutil.iter_modules([str(PACKAGE)])} - NOT_CORE
    found = {module_name(file) for file in core_files()}
    assert {f"concept_attention.{name}" for name in top} | {"concept_attention"} <= found
    assert {"concept_attention.attention", "concept_attention.scores"} <= found


@pytest.mark.parametrize("file", [*core_files(), *labelling_files()], ids=lambda file: file.stem)
def test_core_modules_import_only_what_every_host_brings(file: Path) -> None:
    """Also inside functions; the package itself is imported relatively, as its name is taken elsewhere.

    Packages of extras are imported by `labelling.extras`, which says how to install them.
    """
    assert roots(ast.parse(file.read_text(encoding="utf-8"))) <= ALLOWED


def test_the_package_offers_its_main_names_and_loads_no_host_for_them() -> None:
    program = (
        "import json, sys\n"
        "import concept_attention\n"
        "names = sorted(name for name in concept_attention.__all__ if not name.startswith('Concept'))\n"
        "assert set(names) < set(dir(concept_attention))\n"
        "assert 'torch' not in sys.modules\n"
        "found = {name: getattr(concept_attention, name).__module__ for name in names}\n"
        f"print(json.dumps([found, sorted({FOREIGN!r} & set(sys.modules))]))\n"
    )
    run = subprocess.run(
        [sys.executable, "-c", program], cwd=PACKAGE.parent, capture_output=True, text=True, check=False
    )
    assert run.returncode == 0, run.stderr
    found, foreign = json.loads(run.stdout.splitlines()[-1])
    assert found["parse_concepts"] == "concept_attention.concepts" and found["make_heatmaps"].endswith("heatmaps")
    assert foreign == []


def test_an_unknown_name_is_an_attribute_error() -> None:
    package = importlib.import_module("concept_attention")
    with pytest.raises(AttributeError, match="'concept_attention' has no attribute 'nothing'"):
        package.nothing  # noqa: B018


def test_type_checkers_see_the_names_that_the_package_offers() -> None:
    tree = ast.parse((PACKAGE / "__init__.py").read_text(encoding="utf-8"))
    (checked,) = (node for node in tree.body if isinstance(node, ast.If))
    imports = [node for node in checked.body if isinstance(node, ast.ImportFrom)]
    seen = {alias.name: f".{node.module}" for node in imports for alias in node.names}
    assert seen == importlib.import_module("concept_attention")._HOMES
