"""The example workflows, and how those that need model files run without them."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from .graph import Graph
from .process import PROJECT

FOLDER = PROJECT / "example_workflows"
BLUEPRINTS = PROJECT / "subgraphs"
NEED_NO_DOWNLOAD = " - no download"  # suffix of their names

# Loaders of the other workflows, and the outputs of the landscape model that replace theirs.
LOADERS = {"UNETLoader": (0,), "DualCLIPLoader": (1,), "VAELoader": (2,), "CheckpointLoaderSimple": (0, 1, 2)}


def workflows() -> dict[str, Path]:
    """Every example workflow's file, by name."""
    return {file.stem: file for file in sorted(FOLDER.glob("*.json"))}


def lend_landscape_model(graph: Graph) -> Graph:
    """The same graph with the landscape model, a Flux, in place of loaders."""
    prompt = graph.as_prompt()
    outputs = {n: LOADERS[node["class_type"]] for n, node in prompt.items() if node["class_type"] in LOADERS}
    lent = Graph.of({number: node for number, node in prompt.items() if number not in outputs})
    model = lent.add("ConceptAttentionTinyModel")
    for number, node in list(lent.as_prompt().items()):
        inputs = {
            name: model[outputs[value[0]][value[1]]] if isinstance(value, list) and value[0] in outputs else value
            for name, value in node["inputs"].items()
        }
        lent.as_prompt()[number] = {**node, "inputs": inputs}
    return lent


def reword(graph: Graph) -> None:
    """Replace the concepts by words that the landscape model knows, also in masks and plots."""
    nodes = [node["inputs"] for node in graph.as_prompt().values()]
    keys = {"concepts", "words", "background"}
    texts = [inputs[key] for inputs in nodes if "background" in inputs for key in keys & inputs.keys()]
    names = {name.strip() for text in texts if isinstance(text, str) for name in text.split(",")} - {""}
    known = dict(zip(sorted(names), ("boat", "sun", "sky", "water", "house", "tree", "grass"), strict=False))
    for inputs in nodes:
        for key in keys & inputs.keys():
            if isinstance(inputs[key], str) and inputs[key]:
                inputs[key] = ", ".join(known[name.strip()] for name in inputs[key].split(",") if name.strip())


def set_everywhere(graph: Graph, **inputs: Any) -> None:
    """Change every number with one of these names, such as steps; not texts, such as the steps of heatmaps."""
    for node in graph.as_prompt().values():
        given = node["inputs"]
        node["inputs"] = {
            name: value if isinstance(value, str) else inputs.get(name, value) for name, value in given.items()
        }


def models_of(workflow: Mapping[str, Any]) -> list[Mapping[str, str]]:
    """The model files that a workflow names: name, directory below ComfyUI's models folder, url."""
    return [model for node in workflow["nodes"] for model in node["properties"].get("models", [])]
