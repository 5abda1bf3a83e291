"""A browser with ComfyUI's front end, in both of its renderers. Where something for it is missing, that is said."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from ..hosts.comfyui.conftest import Hostless
from ..support.browser.chromium import BrowserMissing, chromium, find_chromium
from ..support.comfyui.boot import HostMissing, find_host
from ..support.server.client import Client
from ..support.server.front_end import find_front_end

if TYPE_CHECKING:
    from playwright.sync_api import Browser

    from ..support.browser.editor import Editor

WIDTH, HEIGHT = 1400, 1100  # of the window
PATIENCE_MS = 60_000
RENDERERS = ("canvas", "nodes2")
HERE = Path(__file__).resolve().parent
SCREENSHOTS = pytest.StashKey[Path]()
OPENED = pytest.StashKey[ExitStack]()  # the browser, until it is closed


def pytest_pycollect_makemodule(module_path: Path, parent: Any) -> pytest.Module | None:
    """Test modules here import what drives browsers at their top."""
    reason = missing()
    return Hostless.of(parent, module_path, reason) if reason else None


def missing() -> str:
    """What these tests need and is not there; empty if they can run."""
    try:
        find_host()
        find_chromium()
    except (HostMissing, BrowserMissing) as error:
        return str(error)
    if find_front_end() is None:
        return "needs ComfyUI's front end: its package is not installed. Run `python dev.py test`."
    return ""


@pytest.fixture(scope="session")
def screenshots(tmp_path_factory: pytest.TempPathFactory, pytestconfig: pytest.Config) -> Path:
    folder = tmp_path_factory.mktemp("screenshots")
    pytestconfig.stash[SCREENSHOTS] = folder
    return folder


def pytest_terminal_summary(terminalreporter: Any, config: pytest.Config) -> None:
    folder = config.stash.get(SCREENSHOTS, None)
    if folder is not None:
        terminalreporter.write_line(f"Screenshots: {folder}")


@pytest.fixture(scope="session")
def browser(pytestconfig: pytest.Config) -> Browser:
    """Chromium, for all tests of this folder."""
    return pytestconfig.stash.setdefault(OPENED, ExitStack()).enter_context(chromium(find_chromium()))


@pytest.fixture(scope="session")
def opened(browser: Browser, comfyui: Client, screenshots: Path) -> Editor:
    """The front end in a page."""
    from ..support.browser.editor import Editor

    page = browser.new_page(viewport={"width": WIDTH, "height": HEIGHT})
    page.set_default_timeout(PATIENCE_MS)
    editor = Editor(page, comfyui, screenshots)
    editor.open()
    check(editor)
    return editor


def check(editor: Editor) -> None:
    """Fail if our files did something wrong."""
    editor.page.wait_for_timeout(50)  # that is heard of a little later
    errors = editor.errors.ours
    assert not errors, "In the browser:\n" + "\n".join(map(str, errors))


@pytest.hookimpl(trylast=True)
def pytest_runtest_teardown(item: pytest.Item, nextitem: pytest.Item | None) -> None:
    """Close the browser after the last test of this folder: while Playwright runs, no other test can use asyncio."""
    if nextitem is None or HERE not in nextitem.path.parents:
        item.config.stash.setdefault(OPENED, ExitStack()).close()


@pytest.fixture(params=RENDERERS)
def editor(opened: Editor, request: pytest.FixtureRequest) -> Iterator[Editor]:
    """The front end with either renderer; what our files do wrong in it during a test is a failure.

    The second time a test finds in ComfyUI's cache what it sampled the first time.
    """
    opened.errors.found.clear()
    opened.render(request.param)
    yield opened
    check(opened)
