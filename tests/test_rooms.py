"""The folders of the package import each other in one direction only."""

from __future__ import annotations

import ast
from graphlib import TopologicalSorter
from pathlib import Path

PACKAGE = Path(__file__).resolve().parents[1] / "concept_attention"
# Every folder below one of these counts by itself, and so does every module.
SPLIT = {"", "hosts", "hosts/comfyui", "hosts/diffusers", "labelling", "tiny"}


def room(path: str) -> str:
    """The folder, or the module outside of folders, that a path such as `hosts/comfyui/engine/run` belongs to."""
    parts = path.split("/")
    depth = next(n for n in range(1, len(parts) + 1) if n == len(parts) or "/".join(parts[:n]) not in SPLIT)
    return "/".join(parts[:depth])


def imported(file: Path) -> set[str]:
    """The package's modules that a file imports, also inside functions; what only type checkers import is left out."""
    tree = ast.parse(file.read_text(encoding="utf-8"))
    for node in ast.walk(tree):
        if isinstance(node, ast.If) and getattr(node.test, "id", "") == "TYPE_CHECKING":
            node.body = []
    found = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.level:
            target = file.parents[node.level - 1] / (node.module or "").replace(".", "/")
            names = [target / alias.name for alias in node.names]
            modules = [name if name.is_dir() or name.with_suffix(".py").is_file() else target for name in names]
            found |= {module.relative_to(PACKAGE).as_posix() for module in modules if module != PACKAGE}
    return found


def arrows() -> dict[str, set[str]]:
    """The other rooms that every room imports."""
    found: dict[str, set[str]] = {}
    for file in sorted(PACKAGE.rglob("*.py")):
        name = file.relative_to(PACKAGE).with_suffix("").as_posix().removesuffix("/__init__")
        if name != "__init__":  # offers names of all rooms
            found.setdefault(room(name), set()).update(room(module) for module in imported(file))
    return {name: targets - {name} for name, targets in found.items()}


def test_no_rooms_import_each_other_in_a_circle() -> None:
    TopologicalSorter(arrows()).prepare()  # a CycleError names the rooms


def test_the_arrows_point_from_the_command_line_to_the_core() -> None:
    floors = {"__main__": 0, "cli": 0, "authors": 1, "labelling": 1, "tiny": 1, "hosts": 2}  # the core is below
    pairs = {(above, below) for above, targets in arrows().items() for below in targets}
    assert ("tiny/evaluation", "hosts/diffusers/analysis") in pairs
    for above, below in pairs:
        upper, lower = (floors.get(name.split("/")[0], 3) for name in (above, below))
        assert upper <= lower, f"{above} imports {below}"


def test_labels_are_read_and_written_without_a_model() -> None:
    """What a data set consists of is needed in ComfyUI too, where there is no diffusers."""
    found = arrows()
    users = {name for name, targets in found.items() if any(target.startswith("hosts") for target in targets)}
    assert {name for name in users if name.startswith("labelling")} == {"labelling/labeller"}
    rooms = [name for name in found if name.startswith("labelling")]
    assert {name for name in rooms if "labelling/labeller" in found[name]} == {"labelling/engines"}


def test_the_world_and_its_models_know_no_host() -> None:
    found = arrows()
    for name in ("tiny/world", "tiny/models"):
        assert not any(target.startswith("hosts") for target in found[name]), name
