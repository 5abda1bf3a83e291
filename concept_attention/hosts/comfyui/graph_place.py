"""Where in a graph something is executed, and whose latent a node gets."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import Any, NamedTuple

from comfy_execution.utils import get_executing_context


class Place(NamedTuple):
    """Where in a graph something is executed.

    Attributes:
        prompt: id of the execution of a graph.
        node: id of the node.
        item: index of its list item; None if it has no lists.
    """

    prompt: str
    node: str
    item: int | None


def executing_place() -> Place | None:
    """The place that is being executed; None outside of a graph."""
    context = get_executing_context()
    return None if context is None else Place(context.prompt_id, context.node_id, context.list_index)


@dataclass(frozen=True)
class Asked:
    """Who asks for a recording.

    Attributes:
        sampler: id of the node whose latent it is, if that is known.
        item: see `Place`.
        nodes: ids of all nodes of the graph; empty if they are not known.
    """

    sampler: str | None = None
    item: int | None = None
    nodes: Collection[str] = ()


UNKNOWN = Asked()


def who_asks(graph: Any, name: str) -> Asked:
    """The node that is being executed, as who asks for a recording.

    Args:
        graph: ComfyUI's DynamicPrompt; None if it is not known.
        name: of the node's LATENT input.
    """
    place = executing_place()
    if place is None or graph is None or not graph.has_node(place.node):
        return UNKNOWN
    link = graph.get_node(place.node)["inputs"].get(name)
    return Asked(str(link[0]) if isinstance(link, list) else None, place.item, graph.all_node_ids())
