"""Which front end and which browser the tests take, and what they say where there is none."""

from __future__ import annotations

import importlib.util
import shutil
from pathlib import Path

import pytest

from ..browser.chromium import BrowserMissing, find_chromium
from .front_end import find_front_end, version_of


@pytest.fixture
def installed(tmp_path: Path) -> Path:
    """A folder as `pip install --target` leaves it."""
    static = tmp_path / "comfyui_frontend_package" / "static"
    static.mkdir(parents=True)
    (static / "index.html").touch()
    (static.parent / "__init__.py").touch()
    (tmp_path / "comfyui_frontend_package-1.2.3.dist-info").mkdir()
    return tmp_path


def test_a_front_end_that_is_named_is_taken_and_knows_its_version(
    installed: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COMFYUI_FRONT_END", str(installed))
    found = find_front_end()
    assert found == installed / "comfyui_frontend_package" / "static"
    assert version_of(found) == "1.2.3"
    monkeypatch.setenv("COMFYUI_FRONT_END", str(installed / "elsewhere"))
    with pytest.raises(ValueError, match="COMFYUI_FRONT_END is .*elsewhere, which holds no .* Correct it"):
        find_front_end()


def test_an_installed_front_end_is_taken(installed: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("COMFYUI_FRONT_END", raising=False)
    monkeypatch.syspath_prepend(installed)
    assert find_front_end() == installed / "comfyui_frontend_package" / "static"
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    assert find_front_end() is None


def test_a_missing_browser_is_named_with_the_way_to_get_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program = tmp_path / "google-chrome"
    program.touch()
    monkeypatch.delenv("CONCEPT_ATTENTION_CHROMIUM", raising=False)
    monkeypatch.setattr(shutil, "which", lambda name: str(program) if name == program.name else None)
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: object())
    assert find_chromium() == program
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(BrowserMissing, match=r"^needs the package `playwright`. Run `python dev.py test`"):
        find_chromium()
    monkeypatch.setattr(shutil, "which", lambda name: None)
    with pytest.raises(BrowserMissing, match="^needs Chromium: none was found. .* CONCEPT_ATTENTION_CHROMIUM"):
        find_chromium()
    monkeypatch.setenv("CONCEPT_ATTENTION_CHROMIUM", str(tmp_path / "gone"))
    with pytest.raises(ValueError, match="CONCEPT_ATTENTION_CHROMIUM is .*gone, which is no file. Correct it."):
        find_chromium()
