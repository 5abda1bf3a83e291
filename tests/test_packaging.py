"""The lists of packages, and what mypy is told to read."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]


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


def left_out() -> list[str]:
    """What the published pack leaves out."""
    lines = (ROOT / ".comfyignore").read_text(encoding="utf-8").splitlines()
    return [line.rstrip("/") for line in lines if line and not line.startswith("#")]


@pytest.mark.parametrize("page", ["README.md", "CHANGELOG.md", "docs/landscape-model.md"])
def test_links_lead_to_files_that_the_published_pack_has(page: str) -> None:
    text = (ROOT / page).read_text(encoding="utf-8")
    links = [first or second for first, second in re.findall(r"\]\((?:<([^>]+)>|([^)\s]+))\)", text)]
    for link in links:
        if not link.startswith(("http", "#")):
            target = (ROOT / page).parent / link.split("#")[0]
            assert target.exists(), link
            assert target.resolve().relative_to(ROOT).parts[0] not in left_out(), link


def test_the_classifiers_are_those_that_the_registry_reads() -> None:
    tomllib = pytest.importorskip("tomllib")
    classifiers = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["classifiers"]
    assert any(one.startswith("Operating System :: ") for one in classifiers)
    assert any(one.startswith("Environment :: GPU :: ") for one in classifiers)
