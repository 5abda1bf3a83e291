"""Help pages: one per node and language, where ComfyUI's front end looks for them, naming every input and output."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from ..support.nodes.locales import FOLDER, NODES, read
from .conftest import Pack

DOCS = FOLDER.parent / "web" / "docs"
IDS = sorted(read("en", NODES))


def page_of(node_id: str, language: str) -> Path:
    """The front end asks for the language's page first, then for the one that serves all languages."""
    return DOCS / f"{node_id}.md" if language == "en" else DOCS / node_id / f"{language}.md"


@pytest.mark.parametrize("language", ["en", "zh"])
@pytest.mark.parametrize("node_id", IDS)
def test_a_page_names_what_the_node_has(pack: Pack, node_id: str, language: str) -> None:
    page = page_of(node_id, language).read_text(encoding="utf-8")
    assert len(page) > 150 and not page.startswith(("#", "\n"))
    node = read(language, NODES)[node_id]
    ids = pack.nodes[node_id].GET_SCHEMA()
    for item in ids.inputs:
        name = item.id if language == "en" else node["inputs"][item.id]["name"]
        assert f"**{name}**" in page, name
    for output in node.get("outputs", {}).values():
        assert f"**{output['name']}**" in page, output["name"]


@pytest.mark.parametrize("language", ["en", "zh"])
@pytest.mark.parametrize("node_id", IDS)
def test_a_page_explains_every_choice(pack: Pack, node_id: str, language: str) -> None:
    page = page_of(node_id, language).read_text(encoding="utf-8")
    for item in pack.nodes[node_id].GET_SCHEMA().inputs:
        if item.id in ("layout", "blend", "method", "kind", "pooling", "reader"):
            assert all(f"`{option}`" in page for option in item.options)


@pytest.mark.parametrize("path", sorted(DOCS.rglob("*.md")), ids=lambda path: str(path.relative_to(DOCS)))
def test_pictures_lie_where_the_front_end_looks_for_them(path: Path) -> None:
    """In every language it looks from the folder of all help pages."""
    for source in re.findall(r"!\[[^\]]*\]\(([^)]+)\)", path.read_text(encoding="utf-8")):
        assert (DOCS / source).is_file(), source


def test_there_is_no_page_of_a_node_that_does_not_exist() -> None:
    pages = {path.relative_to(DOCS).parts[0].removesuffix(".md") for path in DOCS.rglob("*.md")}
    assert pages == set(IDS)


@pytest.mark.parametrize("path", sorted(DOCS.rglob("zh.md")), ids=lambda path: path.parent.name)
def test_bold_ends_where_it_should(path: Path) -> None:
    """Markdown does not close bold between a bracket and a letter."""
    assert not re.search(r"[）》”]\*\*[\w]", path.read_text(encoding="utf-8"))
