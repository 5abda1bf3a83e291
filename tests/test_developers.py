"""The map in DEVELOPERS.md names every module of the library and of the nodes, and nothing that is not there."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
FAMILIES = "concept_attention/hosts/comfyui/adapters/"  # the map names a few of them and says `...`


def mapped() -> set[str]:
    """Every path that the map names."""
    text = (ROOT / "DEVELOPERS.md").read_text(encoding="utf-8").split("```")[1]
    paths, folders = set(), [(-1, "")]
    for line in text.strip().splitlines():
        indent = len(line) - len(line.lstrip())
        while folders[-1][0] >= indent and indent < 30:
            folders.pop()
        folder = folders[-1][1]
        for number, word in enumerate(re.findall(r"[\w./-]+(?:/|\.py|\.js|\.md)(?=[\s:;,]|$)", line)):
            path = f"{folder}{word}"
            if not (ROOT / path).exists():
                continue
            paths.add(path)
            if number == 0 and word.endswith("/") and indent < 30:
                folders.append((indent, path))
                folder = path
    return paths


def test_every_module_is_on_the_map() -> None:
    files = [*(ROOT / "concept_attention").rglob("*.py"), *(ROOT / "nodes").glob("*.py"), *ROOT.glob("*.py")]
    modules = {file.relative_to(ROOT).as_posix() for file in files if file.name != "__init__.py"}
    missing = {module for module in modules - mapped() if not module.startswith(FAMILIES)}
    assert not missing


def test_everything_on_the_map_exists() -> None:
    text = (ROOT / "DEVELOPERS.md").read_text(encoding="utf-8").split("```")[1]
    names = set(re.findall(r"[\w-]+\.(?:py|js|md)\b", text))
    folders = [ROOT / name for name in ("concept_attention", "nodes", "web", "docs")]
    files = [*ROOT.glob("*.*"), *(file for folder in folders for file in folder.rglob("*.*"))]
    assert names <= {file.name for file in files}
