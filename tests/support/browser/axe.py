"""axe-core, which finds what keeps people with disabilities from using a page: an npm package, for these tests only."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from ..server.process import PROJECT

if TYPE_CHECKING:
    from playwright.sync_api import Locator

VERSION = "4.14.1"
MARK = "data-examined"
RUN = """async (mark) => {
  const found = await window.axe.run(`[${mark}]`, { resultTypes: ["violations"] });
  return found.violations.flatMap(({ id, nodes }) =>
    nodes.map(({ html, failureSummary }) =>
      `${id}: ${html.slice(0, 160)} ${failureSummary.replace(/\\s+/g, " ").slice(0, 300)}`));
}"""


def script() -> Path:
    """The package's script; it is installed into the environment's folder first. Without npm the test is skipped."""
    folder = PROJECT / ".venv" / f"axe-core-{VERSION}"
    found = folder / "node_modules" / "axe-core" / "axe.min.js"
    npm = shutil.which("npm")
    if npm and not found.exists():
        options = ["--prefix", str(folder), "--no-save", "--no-package-lock", "--no-audit", "--loglevel=error"]
        subprocess.run([npm, "install", *options, f"axe-core@{VERSION}"], check=False, capture_output=True, timeout=120)
    if not found.exists():
        pytest.skip("needs axe-core: npm is missing, or could not install it")
    return found


def violations(element: Locator) -> list[str]:
    """What axe-core finds wrong inside an element that is on screen."""
    page: Any = element.page
    if not page.evaluate("() => Boolean(window.axe)"):
        page.add_script_tag(path=script())
    element.evaluate(f"(element) => element.setAttribute('{MARK}', '')")
    try:
        return [str(each) for each in page.evaluate(RUN, MARK)]
    finally:
        element.evaluate(f"(element) => element.removeAttribute('{MARK}')")
