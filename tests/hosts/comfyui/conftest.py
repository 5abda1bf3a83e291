"""What the tests of the ComfyUI host share. Without a ComfyUI they are skipped, and the end of the run says so.

Other folders that test inside ComfyUI's library take it over in their own conftest.py:

    from ..hosts.comfyui.conftest import comfy_host, pytest_pycollect_makemodule, tiny_clip, tiny_flux  # noqa: F401
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from ...support.comfyui.boot import Host, HostMissing, boot


class Hostless(pytest.Module):
    """A test module that cannot even be imported here."""

    reason = ""

    @classmethod
    def of(cls, parent: Any, path: Path, reason: str) -> Hostless:
        """In place of the module in this file."""
        module: Hostless = cls.from_parent(parent, path=path)
        module.reason = reason
        return module

    def collect(self) -> Any:
        pytest.skip(self.reason, allow_module_level=True)


def pytest_pycollect_makemodule(module_path: Path, parent: Any) -> pytest.Module | None:
    """Import ComfyUI before the first test module is: these can then import it, and our modules for it, at the top."""
    try:
        boot()
    except HostMissing as missing:
        return Hostless.of(parent, module_path, str(missing))
    return None


@pytest.fixture(scope="session")
def comfy_host() -> Host:
    """The ComfyUI that is being tested with, imported."""
    return boot()


@pytest.fixture(scope="session")
def tiny_flux(comfy_host: Host) -> Callable[..., Any]:
    """Makes a new MODEL, a random Flux: see `tiny.make_flux` for its arguments."""
    from ...support.comfyui.tiny import make_flux

    return make_flux


@pytest.fixture(scope="session")
def tiny_clip(comfy_host: Host) -> Any:
    """A CLIP that fits these models (see `tiny.make_clip`). Do not change it: tests share it."""
    from ...support.comfyui.tiny import make_clip

    return make_clip()
