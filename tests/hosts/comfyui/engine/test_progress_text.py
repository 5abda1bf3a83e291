"""Progress messages below the running node."""

from __future__ import annotations

import sys
import types
from typing import Any

import pytest
from comfy_execution.utils import CurrentNodeContext

from concept_attention.hosts.comfyui.engine.progress_text import show_progress_text


def test_the_running_node_shows_the_text(monkeypatch: pytest.MonkeyPatch) -> None:
    sent: list[Any] = []
    instance = types.SimpleNamespace(send_progress_text=lambda *arguments: sent.append(arguments))
    server = types.SimpleNamespace(PromptServer=types.SimpleNamespace(instance=instance))
    monkeypatch.setitem(sys.modules, "server", server)
    show_progress_text("outside of a graph")
    with CurrentNodeContext("prompt", "7", 0):
        show_progress_text("1.2 GiB")
    assert sent == [("1.2 GiB", "7")]
