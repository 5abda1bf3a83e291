"""A ComfyUI process for tests: on the CPU, on a free port, with a temporary base directory and only this pack."""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import psutil

PROJECT = Path(__file__).resolve().parents[3]
START = Path(__file__).with_name("start.py")
FOLDERS = ("custom_nodes", "input", "models", "output", "temp", "user", "web")
NOT_PART_OF_THE_PACK = (".*", "runs", "demo_output", "__pycache__", "*.egg-info")
PATIENCE_S = 240  # a start takes 10 s on two idle cores
COMPLAINT = re.compile(rb"^.*(?:Traceback \(most recent call last\)|IMPORT FAILED|Exception).*$", re.MULTILINE)
ANSWER_S = 60  # for one request
EXCERPT = 1500  # bytes of the log


class ServerDied(Exception):
    """The process ended or did not answer; the text has the end of its log."""


class ComfyProcess:
    """ComfyUI, started as `python main.py --cpu ...`; `stop` ends it with all processes that it started.

    Attributes:
        comfyui: the ComfyUI's folder.
        port: its port on 127.0.0.1.
        base: its base directory, with the folders input, output and so on.
        log: file with everything it printed.
    """

    def __init__(
        self,
        comfyui: Path,
        base: Path,
        pack: Path = PROJECT,
        name: str = "ComfyUI-ConceptAttention",
        front_end: Path | None = None,
        others: Sequence[Path] = (),
    ) -> None:
        """Start ComfyUI without waiting for it.

        Args:
            comfyui: folder of the ComfyUI.
            base: empty folder for its files.
            pack: the custom node pack that it loads.
            name: name of the pack's folder in custom_nodes.
            front_end: folder that browsers are served; None serves nothing.
            others: folders of other packs to load beside it.
        """
        for folder in FOLDERS:
            (base / folder).mkdir(parents=True)
        _install(pack, base / "custom_nodes" / name)
        for other in others:
            _install(other, base / "custom_nodes" / other.name)
        self.comfyui, self.base, self.name, self.log = comfyui, base, name, base / "log.txt"
        self.port = _free_port()
        self._forgiven: list[tuple[int, int]] = []
        options = ["--cpu", "--port", str(self.port), "--disable-auto-launch", "--disable-api-nodes"]
        options += ["--base-directory", str(base), "--database-url", "sqlite:///:memory:"]
        options += ["--front-end-root", str(front_end or base / "web")]  # no package needs to be installed
        options += ["--disable-all-custom-nodes", "--whitelist-custom-nodes", name, *(other.name for other in others)]
        environment = {"OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1", "PYTHONUNBUFFERED": "1"}
        with open(self.log, "wb") as log:
            self.process = subprocess.Popen(
                [sys.executable, str(START), str(comfyui), *options],
                cwd=base,
                env={**os.environ, **environment},
                stdin=subprocess.PIPE,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,  # a process group of its own
            )

    def wait(self) -> None:
        """Wait until it answers.

        Raises:
            ServerDied: if it ends before that, or has not answered after PATIENCE_S.
        """
        end = time.monotonic() + PATIENCE_S
        while time.monotonic() < end:
            code = self.process.poll()
            if code is not None:
                raise ServerDied(f"ComfyUI ended with exit code {code} before it answered.\n{self.tail()}")
            with contextlib.suppress(OSError):
                self.ask("GET", "/prompt")
                return
            time.sleep(0.2)
        raise ServerDied(f"ComfyUI did not answer within {PATIENCE_S} s.\n{self.tail()}")

    def ask(self, method: str, path: str, content: Any = None) -> tuple[int, bytes]:
        """Send an HTTP request with content as JSON; returns status and body of the answer."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=ANSWER_S)
        try:
            connection.request(method, path, json.dumps(content), {"Content-Type": "application/json"})
            answer = connection.getresponse()
            return answer.status, answer.read()
        finally:
            connection.close()

    def stop(self) -> None:
        """Kill it and all processes that it started."""
        if os.name == "posix":
            with contextlib.suppress(ProcessLookupError):  # no process of the group is left
                os.killpg(self.process.pid, signal.SIGKILL)
        else:
            self.process.kill()
        self.process.wait(timeout=60)
        assert self.process.stdin
        self.process.stdin.close()

    def memory(self) -> int:
        """Its resident memory in bytes."""
        return int(psutil.Process(self.process.pid).memory_info().rss)

    def tail(self, lines: int = 30) -> str:
        """The end of the log."""
        return "\n".join(self.log.read_text(encoding="utf-8", errors="replace").splitlines()[-lines:])

    def size_of_log(self) -> int:
        """Size of the log in bytes: the current position in it."""
        return self.log.stat().st_size

    def forgive(self, begin: int, end: int) -> None:
        """Errors between these positions in the log were expected by a test."""
        self._forgiven.append((begin, end))

    def complaints(self) -> list[str]:
        """Excerpts of the log at every exception or failed import that no test expected."""
        log, found, end_of_last = self.log.read_bytes(), [], 0
        for start in (match.start() for match in COMPLAINT.finditer(log)):
            if start >= end_of_last and not any(begin <= start < end for begin, end in self._forgiven):
                end_of_last = start + EXCERPT
                found.append(log[start:end_of_last].decode("utf-8", errors="replace"))
        return found


def _install(pack: Path, target: Path) -> None:
    """Link the pack; copy it where links are not allowed."""
    try:
        target.symlink_to(pack, target_is_directory=True)
    except OSError:
        shutil.copytree(pack, target, ignore=shutil.ignore_patterns(*NOT_PART_OF_THE_PACK))


def _free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])
