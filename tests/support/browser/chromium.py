"""The browser that the tests drive: one that the system has."""

from __future__ import annotations

import importlib.util
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from playwright.sync_api import Browser

VARIABLE = "CONCEPT_ATTENTION_CHROMIUM"
NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
OPTIONS = (
    *("--disable-gpu", "--disable-quic", "--no-first-run", "--disable-sync"),
    *("--disable-background-networking", "--disable-component-update"),
    *("--no-proxy-server", "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1"),  # nothing leaves this machine
)


class BrowserMissing(Exception):
    """There is no browser to test with, or nothing that drives it; the text says why and how to get it."""


def find_chromium() -> Path:
    """The browser's program.

    Raises:
        BrowserMissing: if there is none, or if Playwright, which drives it, is not installed.
        ValueError: if CONCEPT_ATTENTION_CHROMIUM is set and is no file: who names one wants it tested.
    """
    named = os.environ.get(VARIABLE)
    if named and not Path(named).is_file():
        raise ValueError(f"{VARIABLE} is {named}, which is no file. Correct it.")
    found = named or next(filter(None, map(shutil.which, NAMES)), None)
    if found is None:
        raise BrowserMissing(f"needs Chromium: none was found. Install it, or set {VARIABLE} to its program.")
    if importlib.util.find_spec("playwright") is None:
        raise BrowserMissing("needs the package `playwright`. Run `python dev.py test`, or install it with pip.")
    return Path(found)


@contextmanager
def chromium(program: Path) -> Iterator[Browser]:
    """A running browser with an empty profile, for the time of a `with` block."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=program, args=OPTIONS)
        try:
            yield browser
        finally:
            browser.close()
