"""Expected content of the locale files, read from the nodes.

`python -m tests.support.nodes.locales` writes the English files.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

FOLDER = Path(__file__).resolve().parents[3] / "locales"
NODES = "nodeDefs.json"  # ComfyUI's file names
MAIN = "main.json"
FOREIGN_OPTIONS = {"sampler_name", "scheduler", "file", "lora"}  # options of core, and file names


def english_nodes(nodes: dict[str, Any]) -> dict[str, Any]:
    """nodeDefs.json in English, from the schemas of node classes by id."""
    return {node_id: _node(node.GET_SCHEMA()) for node_id, node in sorted(nodes.items())}


def _node(schema: Any) -> dict[str, Any]:
    node = {"display_name": schema.display_name, "description": schema.description}
    inputs = {}
    for item in schema.inputs:
        inputs[item.id] = {"name": item.display_name or item.id, "tooltip": item.tooltip}
        if getattr(item, "options", None) and item.id not in FOREIGN_OPTIONS:
            inputs[item.id]["options"] = {option: option for option in item.options}
        if getattr(item, "control_after_generate", None):
            inputs["control_after_generate"] = {"name": "control after generate"}
    outputs = {
        str(index): {"name": output.display_name, "tooltip": output.tooltip}
        for index, output in enumerate(schema.outputs)
    }
    return {**node, **({"inputs": inputs} if inputs else {}), **({"outputs": outputs} if outputs else {})}


def english_main(nodes: dict[str, Any]) -> dict[str, Any]:
    """main.json in English: names of categories and of socket types."""
    schemas = [node.GET_SCHEMA() for node in nodes.values()]
    parts = {part for schema in schemas for part in schema.category.split("/")}
    types = {item.io_type for schema in schemas for item in (*schema.inputs, *schema.outputs)}
    names = {name: name.removeprefix("CA_").capitalize() for name in types if name.startswith("CA_")}
    return {"nodeCategories": {part: part for part in sorted(parts)}, "dataTypes": dict(sorted(names.items()))}


def read(language: str, name: str) -> dict[str, Any]:
    return dict(json.loads((FOLDER / language / name).read_text(encoding="utf-8")))


def main() -> None:
    from ...nodes.conftest import Pack
    from ..comfyui.boot import PROJECT, boot

    boot()
    nodes = Pack(PROJECT).nodes
    (FOLDER / "en").mkdir(parents=True, exist_ok=True)
    for name, content in ((NODES, english_nodes(nodes)), (MAIN, english_main(nodes))):
        text = json.dumps(content, ensure_ascii=False, indent=2)
        (FOLDER / "en" / name).write_bytes(f"{text}\n".encode())


if __name__ == "__main__":
    main()
