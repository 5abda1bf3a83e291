"""Graphs in ComfyUI's API format, built by calls."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Node:
    """A node of a graph. `node[1]` is its second output, as another node's input."""

    number: str

    def __getitem__(self, output: int) -> list[Any]:
        return [self.number, output]


class Graph:
    """Nodes and their inputs.

    graph = Graph()
    image = graph.add("EmptyImage", width=64, height=64)
    graph.add("PreviewImage", images=image[0])
    """

    def __init__(self) -> None:
        self._nodes: dict[str, dict[str, Any]] = {}

    @classmethod
    def of(cls, prompt: Mapping[str, dict[str, Any]]) -> Graph:
        """The graph of a prompt in API format; its nodes keep their numbers, or names."""
        graph = cls()
        graph._nodes = dict(prompt)
        return graph

    def add(self, kind: str, **inputs: Any) -> Node:
        """Add a node of this id; an input is a value or another node's output."""
        number = str(1 + max((int(number) for number in self._nodes if number.isdigit()), default=0))
        self._nodes[number] = {"class_type": kind, "inputs": inputs}
        return Node(number)

    def set(self, node: Node, **inputs: Any) -> None:
        """Change some inputs of a node."""
        self._nodes[node.number]["inputs"].update(inputs)

    def as_prompt(self) -> dict[str, Any]:
        """The graph in API format."""
        return self._nodes
