"""The ComfyUI process of the tests: it reports a failed start, and leaves no process behind."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from .process import ComfyProcess, ServerDied

# Answers every request, and has started a process that would run for ten minutes.
ANSWERS = """
import http.server, subprocess, sys
child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
print("child", child.pid, flush=True)
class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200)
        self.end_headers()
port = int(sys.argv[sys.argv.index("--port") + 1])
http.server.HTTPServer(("127.0.0.1", port), Handler).serve_forever()
"""


@pytest.fixture
def pretended(tmp_path: Path) -> Path:
    """A folder with a main.py that answers like a ComfyUI."""
    folder = tmp_path / "pretended"
    folder.mkdir()
    (folder / "main.py").write_text(ANSWERS, encoding="utf-8")
    return folder


def child_of(log: Path) -> int:
    return int(log.read_text(encoding="utf-8").split("child ")[1].split()[0])


def gone(*pids: int) -> bool:
    end = time.monotonic() + 30
    while any(map(runs, pids)) and time.monotonic() < end:
        time.sleep(0.05)
    return not any(map(runs, pids))


def runs(pid: int) -> bool:
    try:
        return bool(psutil.Process(pid).status() != psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return False


def test_a_server_that_dies_is_reported_with_the_end_of_its_log(pretended: Path, tmp_path: Path) -> None:
    (pretended / "main.py").write_text("import sys; print('no luck today'); sys.exit(3)", encoding="utf-8")
    server = ComfyProcess(pretended, tmp_path / "base")
    try:
        with pytest.raises(ServerDied, match="(?s)ended with exit code 3 before it answered.*no luck today"):
            server.wait()
    finally:
        server.stop()


def test_stopping_ends_what_the_server_started_too(pretended: Path, tmp_path: Path) -> None:
    server = ComfyProcess(pretended, tmp_path / "base", name="pack")
    try:
        server.wait()
        child = child_of(server.log)
        assert runs(child) and runs(server.process.pid)
        assert (tmp_path / "base" / "custom_nodes" / "pack" / "pyproject.toml").is_file()
    finally:
        server.stop()
    assert gone(child, server.process.pid)
    server.stop()  # once more is no error


def test_the_server_does_not_outlive_tests_that_are_killed(pretended: Path, tmp_path: Path) -> None:
    program = (
        "import importlib.util, os, pathlib, sys\n"
        f"spec = importlib.util.spec_from_file_location('process', {str(Path(__file__).with_name('process.py'))!r})\n"
        "module = importlib.util.module_from_spec(spec)\n"
        "spec.loader.exec_module(module)\n"
        f"server = module.ComfyProcess(pathlib.Path({str(pretended)!r}), pathlib.Path({str(tmp_path / 'base')!r}))\n"
        "server.wait()\n"
        "print(server.process.pid, flush=True)\n"
        "os._exit(9)\n"
    )
    tests = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert tests.returncode == 9, tests.stderr
    assert gone(int(tests.stdout), child_of(tmp_path / "base" / "log.txt"))


def test_exceptions_in_the_log_are_complaints_unless_a_test_has_seen_them(pretended: Path, tmp_path: Path) -> None:
    server = ComfyProcess(pretended, tmp_path / "base")
    server.stop()
    server.log.write_text("Traceback (most recent call last):\nfirst\n", encoding="utf-8")
    seen = server.size_of_log()
    for line in ("all is well", "!!! Exception during processing !!!", "   0.1 seconds (IMPORT FAILED): /x/pack"):
        with open(server.log, "a", encoding="utf-8") as log:
            log.write(line + "\n")
    (both,) = server.complaints()
    assert both.startswith("Traceback (most recent call last):\nfirst\n") and both.endswith("/x/pack\n")
    server.forgive(0, seen)
    (second,) = server.complaints()
    assert second.startswith("!!! Exception during processing !!!")
    server.forgive(seen, server.size_of_log() - 50)
    (third,) = server.complaints()
    assert third == "   0.1 seconds (IMPORT FAILED): /x/pack\n"
    server.forgive(seen, server.size_of_log())
    assert server.complaints() == []
