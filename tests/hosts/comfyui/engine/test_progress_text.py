"""Texts below the node that runs."""

from __future__ import annotations

import sys
import types
from typing import Any

import pytest
from comfy_execution.utils import CurrentNodeContext

from concept_attention.hosts.comfyui.engine.progress_text import tell_node


def test_the_running_node_shows_the_text(monkeypatch: pytest.MonkeyPatch) -> None:
    said: list[Any] = []
    instance = types.SimpleNamespace(send_progress_text=lambda *arguments: said.append(arguments))
    server = types.SimpleNamespace(PromptServer=types.SimpleNamespace(instance=instance))
    monkeypatch.setitem(sys.modules, "server", server)
    tell_node("nobody looks")
    with CurrentNodeContext("prompt", "7", 0):
        tell_node("1.2 GiB")
    assert said == [("1.2 GiB", "7")]
