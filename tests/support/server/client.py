"""A client of ComfyUI's HTTP API: queue graphs, wait, and fetch the results."""

from __future__ import annotations

import io
import json
import re
import time
import urllib.parse
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from safetensors.torch import load
from torch import Tensor

from concept_attention.recording.file import load_recording
from concept_attention.recording.recording import Recording

from .graph import Graph, Node
from .process import ComfyProcess, ServerDied

PATIENCE_S = 120
CLIENT = "tests"  # before 0.20, only a client with a name receives the output of cached nodes


class Refused(Exception):
    """The graph, or a part of it, was not queued; the text has every node's error."""


class NodeError(Exception):
    """A node raised an error; the text is what ComfyUI shows: the node's id and the message.

    Attributes:
        kind: the error's class, such as ValueError.
    """

    def __init__(self, node: str, kind: str, message: str) -> None:
        super().__init__(f"{node}: {message}")
        self.kind, self.message = kind, message


class Interrupted(Exception):
    """The run was interrupted."""


@dataclass(frozen=True)
class Run:
    """A finished run.

    Attributes:
        outputs: what each output node shows, by the node's number: lists of files, texts and so on.
        cached: numbers of the nodes that did not run again.
    """

    outputs: Mapping[str, Mapping[str, Any]]
    cached: frozenset[str]


class Client:
    """Talks to a ComfyUI over HTTP."""

    def __init__(self, server: ComfyProcess) -> None:
        self.server = server
        self._began = 0  # where in the log the last run began

    def get(self, path: str, **query: str) -> bytes:
        """The content at a path."""
        status, content = self.server.ask("GET", f"{path}?{urllib.parse.urlencode(query)}")
        assert status == 200, f"{path} {query}: status {status}"
        return content

    def free_memory(self) -> None:
        """Let ComfyUI drop models and cached results before the next run."""
        self.server.ask("POST", "/free", {"unload_models": True, "free_memory": True})

    def object_info(self) -> dict[str, Any]:
        """Every node's inputs and outputs, by id."""
        return dict(json.loads(self.get("/object_info")))

    def run(self, graph: Graph) -> Run:
        """Queue a graph and wait for it.

        Raises:
            Refused, NodeError, Interrupted: see there; what the log says about them is then no complaint.
            ServerDied: if it takes longer than PATIENCE_S.
        """
        return self.wait(self.queue(graph))

    def queue(self, graph: Graph) -> str:
        """Queue a graph; returns the id to wait for.

        Raises:
            Refused: if ComfyUI finds an error in it. It still runs the outputs without errors.
        """
        self._began = self.server.size_of_log()
        status, content = self.server.ask("POST", "/prompt", {"prompt": graph.as_prompt(), "client_id": CLIENT})
        answer = json.loads(content)
        if status != 200 or answer["node_errors"]:
            self.server.forgive(self._began, self.server.size_of_log())
            raise Refused(_complaints(answer))
        return str(answer["prompt_id"])

    def wait(self, number: str) -> Run:
        """Wait for the run that was queued last.

        Raises:
            NodeError, Interrupted, ServerDied: see `run`.
        """
        end = time.monotonic() + PATIENCE_S
        while time.monotonic() < end:
            entry = json.loads(self.get(f"/history/{number}")).get(number)
            if entry:
                return self._finished(entry)
            if self.server.process.poll() is not None:
                raise ServerDied(f"ComfyUI ended during a run.\n{self.server.tail()}")
            time.sleep(0.02)
        raise ServerDied(f"A run took more than {PATIENCE_S} s.\n{self.server.tail()}")

    def interrupt_at(self, number: str, step: int) -> None:
        """Interrupt a run once its sampler has begun that step, according to the progress bar in the log."""
        end = time.monotonic() + PATIENCE_S
        while time.monotonic() < end:
            with open(self.server.log, "rb") as log:
                log.seek(self._began)
                steps = [int(found) for found in re.findall(rb"(\d+)/\d+ \[", log.read())]
            if max(steps, default=0) >= step:
                self.server.ask("POST", "/interrupt", {"prompt_id": number})
                return
            time.sleep(0.02)
        raise ServerDied(f"No step {step} within {PATIENCE_S} s.\n{self.server.tail()}")

    def files(self, run: Run, node: Node, key: str = "images") -> list[bytes]:
        """The files that a node made, such as SaveImage's PNGs."""
        return [self.get("/view", **entry) for entry in run.outputs[node.number][key]]

    def images(self, run: Run, node: Node) -> list[np.ndarray]:
        """The images that a node made, (H, W, 3), 0-255."""
        return [np.asarray(Image.open(io.BytesIO(file)).convert("RGB")) for file in self.files(run, node)]

    def latent(self, run: Run, node: Node) -> Tensor:
        """What a SaveLatent node saved."""
        (file,) = self.files(run, node, "latents")
        return load(file)["latent_tensor"]

    def recording(self, run: Run, node: Node) -> Recording:
        """What a ConceptRecordingSave node saved."""
        (entry,) = run.outputs[node.number]["recordings"]
        return load_recording(self.server.base / "output" / entry["subfolder"] / entry["filename"])

    def text(self, run: Run, node: Node) -> str:
        """The text that a node shows."""
        return "\n".join(run.outputs[node.number]["text"])

    def _finished(self, entry: Mapping[str, Any]) -> Run:
        events: dict[str, Any] = dict(entry["status"]["messages"])
        if "execution_interrupted" in events:
            raise Interrupted(events["execution_interrupted"]["node_type"])
        if "execution_error" in events:
            self.server.forgive(self._began, self.server.size_of_log())
            error = events["execution_error"]
            raise NodeError(error["node_type"], error["exception_type"], error["exception_message"].strip())
        assert entry["status"]["status_str"] == "success", entry["status"]
        cached = events.get("execution_cached", {}).get("nodes", [])
        return Run(entry["outputs"], frozenset(cached))


@contextmanager
def running(comfyui: Path, base: Path, front_end: Path | None = None) -> Iterator[Client]:
    """Context manager that runs a ComfyUI with this pack.

    Args:
        comfyui: its folder.
        base: folder for its files.
        front_end: folder that browsers are served; None serves nothing.

    Raises:
        ServerDied: if it does not start.
        AssertionError: at the end, if its log has an exception or a failed import that no test expected.
    """
    server = ComfyProcess(comfyui, base, front_end=front_end)
    try:
        server.wait()
        yield Client(server)
        complaints = server.complaints()
        assert not complaints, "ComfyUI's log has:\n" + "\n...\n".join(complaints)
    finally:
        server.stop()


def _complaints(answer: Mapping[str, Any]) -> str:
    """ComfyUI's errors about a graph that it does not queue."""
    lines = [f"{answer['error']['message']}: {answer['error']['details']}"] if "error" in answer else []
    for node in answer["node_errors"].values():
        lines += [f"{node['class_type']}: {error['message']}: {error['details']}" for error in node["errors"]]
    return "\n".join(lines)
