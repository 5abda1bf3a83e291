"""The viewer's list of concepts: picking, absent ones, order, search, words of the prompt; its rows of thumbnails."""

from __future__ import annotations

from playwright.sync_api import expect

from concept_attention.heatmaps.heatmaps import make_heatmaps
from concept_attention.heatmaps.summary import summarise

from ..support.browser.axe import violations
from ..support.browser.editor import Editor
from ..support.browser.many_concepts import NAMES, SIZE, many_concepts, many_concepts_graph
from ..support.browser.viewer_page import VIEW_BUTTONS, ViewerPage, ViewerWorkflow, open_viewer
from ..support.server.client import Client
from ..support.server.graph import Node

LISTED = "(bars) => bars.filter((bar) => bar.offsetHeight).map((bar) => bar.dataset.concept)"
SHEETS = (".ca-help", ".ca-export")


def open_many(editor: Editor, comfyui: Client) -> tuple[ViewerPage, Node]:
    """A viewer of many concepts."""
    graph, node = many_concepts_graph(comfyui)
    editor.load(graph)
    editor.run()
    viewer = ViewerPage(editor, node, (SIZE[1], SIZE[0]))
    viewer.find(".ca-bar").first.wait_for()
    viewer.wait_until_ready()
    return viewer, node


def listed(viewer: ViewerPage) -> list[str]:
    """Names in the list, from top to bottom."""
    viewer.editor.wait_for_drawing()
    return [str(name) for name in viewer.find(".ca-bar").evaluate_all(LISTED)]


def test_no_click_empties_the_choice(editor: Editor, comfyui: Client) -> None:
    viewer, node = open_many(editor, comfyui)
    viewer.bar("boat").locator(".ca-pick").dblclick()
    assert editor.value(node, "concepts") == "boat"
    viewer.bar("boat").locator(".ca-pin").click()
    assert editor.value(node, "concepts") == "boat"
    viewer.hover(0.3, 0.5)
    viewer.image.dblclick(position={"x": 150, "y": 100})
    assert editor.value(node, "concepts") in NAMES


def test_concepts_are_marked_sorted_and_found(editor: Editor, comfyui: Client) -> None:
    viewer, _ = open_many(editor, comfyui)
    heatmaps = make_heatmaps(many_concepts())
    absent = [one.name for one in summarise(heatmaps) if one.absent]
    marked = [name for name in NAMES if viewer.bar(name).locator(".ca-absent").is_visible()]
    assert marked == absent and "moon" in absent
    assert listed(viewer) == list(NAMES)
    means = heatmaps.values[0].flatten(start_dim=1).mean(dim=1)
    viewer.find(".ca-sort").select_option("share")
    assert listed(viewer) == [NAMES[index] for index in means.argsort(descending=True)]
    viewer.find(".ca-sort").select_option("name")
    assert listed(viewer) == sorted(NAMES)
    viewer.find(".ca-search").fill("OO")
    assert listed(viewer) == ["moon"]
    viewer.find(".ca-search").fill("")
    viewer.find(VIEW_BUTTONS["segmentation"]).click()
    editor.screenshot(f"viewer_many_{editor.renderer}")


def test_layers_have_a_row_of_thumbnails(editor: Editor, comfyui: Client) -> None:
    viewer, node = open_many(editor, comfyui)
    viewer.find(".ca-thumbnails-layers button").nth(1).click()
    assert editor.value(node, "layers") == "1"
    viewer.find(".ca-thumbnails-layers button").nth(2).click(modifiers=["Shift"])
    assert editor.value(node, "layers") == "1-2"


def test_nothing_keeps_people_from_using_it(editor: Editor, comfyui: Client) -> None:
    viewer, node = open_many(editor, comfyui)
    viewer.find(".ca-wipe-button").click()
    editor.set_widgets(node, concepts="boat, moon", subtract="house", method="threshold")
    found = {}
    for palette in ("light", "dark"):
        editor.set("Comfy.ColorPalette", palette)
        for view in ("overlay", "segmentation"):
            viewer.find(VIEW_BUTTONS[view]).click()
            found[palette, view] = violations(viewer.element)
        for sheet in SHEETS:
            viewer.find(f".ca-buttons {sheet}").click()
            found[palette, sheet] = violations(viewer.element)
            viewer.find(".ca-sheet-close").click()
    assert not any(found.values()), "\n".join(sorted(set().union(*found.values())))


def test_words_of_the_prompt_become_concepts(editor: Editor, comfyui: Client) -> None:
    workflow = ViewerWorkflow()
    viewer, *_ = open_viewer(editor, comfyui, workflow)
    editor.set_widgets(workflow.start.positive, text="a house beside a boat under the sun")
    viewer.find(".ca-add-words").click()
    expect(viewer.find(".ca-word")).to_have_text(["boat"])
    editor.screenshot(f"viewer_words_{editor.renderer}")
    viewer.find(".ca-word").click()
    assert editor.value(workflow.start.encoded, "concepts") == "house, sun, sky, grass, boat"
    viewer.find(".ca-sheet-close").click()
    editor.run()
    expect(viewer.bar("boat")).to_be_visible()


def test_it_has_a_name_where_it_stands_alone(editor: Editor, comfyui: Client) -> None:
    _, node = open_many(editor, comfyui)
    label = """(number) => window.app.canvas.graph.getNodeById(number).widgets
      .find((widget) => widget.name === "concept_attention_viewer").label"""
    assert editor.page.evaluate(label, node.number) == "Concept Viewer"
