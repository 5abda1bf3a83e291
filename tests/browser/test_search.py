"""What people type into ComfyUI's node search brings the node that does it, by the front end's own search."""

from __future__ import annotations

import pytest

from ..support.browser.editor import Editor

SEARCH = """(text) => {
  const stores = document.querySelector("#vue-app").__vue_app__.config.globalProperties.$pinia._s;
  const found = stores.get("nodeDef").nodeSearchService.searchNode(text, [], { limit: 64 });
  return found.map((node) => node.name.startsWith("SubgraphBlueprint.") ? node.display_name : node.name);
}"""
SHOWN_FIRST = 3
# Of the nodes or blueprints for a text, one is among the first three.
WANTED = {
    "segment": {"ConceptHeatmapToMask", "Image to Concept Mask"},
    "attention": {"ConceptHeatmapPlot"},
    "cross attention": {"ConceptAttentionPatchModel"},
    "explain": {"ConceptHeatmapOverlay"},
    "text to mask": {"ConceptHeatmapToMask", "Text to Image with Concept Mask"},
    "prompt to mask": {"ConceptHeatmapToMask", "Text to Image with Concept Mask"},
    "find object": {"ConceptAttentionEncodeImage"},
    "detect": {"ConceptAttentionEncodeImage"},
    "select object": {"ConceptHeatmapToMask", "Image to Concept Mask"},
    "visualize": {"ConceptHeatmapOverlay"},
}
OLD_NAMES = {
    "Find Concepts in Image": "ConceptAttentionEncodeImage",
    "Overlay Concept Heatmaps": "ConceptHeatmapOverlay",
    "Plot Concept over Layers and Steps": "ConceptHeatmapPlot",
    "Concept Heatmaps to Mask": "ConceptHeatmapToMask",
}


def found_by(editor: Editor, text: str) -> list[str]:
    return [str(name) for name in editor.page.evaluate(SEARCH, text)]


@pytest.mark.parametrize("text", WANTED)
def test_a_search_brings_the_node_among_the_first_three(opened: Editor, text: str) -> None:
    found = found_by(opened, text)
    assert WANTED[text] & set(found[:SHOWN_FIRST]), found[:8]


def test_mask_brings_the_node_right_after_core_s(opened: Editor) -> None:
    """Names that begin with a text come first, by how often people use the node; core has three ids that do."""
    found = found_by(opened, "mask")
    assert found.index("ConceptHeatmapToMask") == SHOWN_FIRST, found[:8]


@pytest.mark.parametrize("name", OLD_NAMES)
def test_a_node_is_found_by_the_name_it_had(opened: Editor, name: str) -> None:
    assert OLD_NAMES[name] in found_by(opened, name)[:SHOWN_FIRST]
