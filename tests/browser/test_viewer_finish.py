"""Masks that are finished in the viewer: the output is what the viewer shows, and what the node for masks makes."""

from __future__ import annotations

from typing import Any

import numpy as np
from playwright.sync_api import expect

from ..support.browser.editor import Editor
from ..support.browser.viewer_page import VIEW_BUTTONS, ViewerPage, ViewerWorkflow, open_viewer
from ..support.server.client import Client

READING = {"layers": "0", "steps": "3"}  # where several concepts have segments
FINISH: dict[str, Any] = {"holes": 5.0, "islands": 1.0, "grow": 3, "blur": 1.5, "subtract": "sun"}
SETTLED_MS = 500  # after a change, everything is drawn in full


def area(viewer: ViewerPage) -> float:
    """The mask's share of the image in percent, as the viewer says it once everything is computed in full."""
    viewer.editor.page.wait_for_timeout(SETTLED_MS)
    return float((viewer.find(".ca-area").text_content() or "").split()[0])


def test_a_mask_finished_in_the_viewer_is_the_node_s(editor: Editor, comfyui: Client) -> None:
    workflow = ViewerWorkflow()
    heatmaps = workflow.graph.add("ConceptHeatmaps", recording=workflow.recording[0], **READING)
    options = {"concepts": "grass, sky", "method": "argmax", **FINISH}
    mask = workflow.graph.add("ConceptHeatmapToMask", heatmaps=heatmaps[0], guide=workflow.image[0], **options)
    sources = (workflow.viewer[2], workflow.viewer[3], mask[0])
    previews = [workflow.graph.add("MaskPreview", mask=source) for source in sources]
    viewer, *_ = open_viewer(editor, comfyui, workflow)
    editor.set_widgets(workflow.viewer, **READING)
    viewer.find("select.ca-method").select_option("argmax")
    viewer.bar("grass").locator(".ca-pick").click()
    viewer.bar("sky").locator(".ca-pin").click()
    viewer.bar("sun").locator(".ca-subtract").click()
    plain = area(viewer)
    viewer.find(".ca-guided").click()
    for name in ("holes", "islands", "grow", "blur"):
        viewer.find(f"input.ca-{name}").fill(str(FINISH[name]))
    viewer.find(VIEW_BUTTONS["mask"]).click()
    shown = area(viewer)
    editor.screenshot(f"viewer_finished_{editor.renderer}")
    assert {name: editor.value(workflow.viewer, name) for name in options} == options
    assert editor.value(workflow.viewer, "guided") is True
    finished = editor.run()
    ours, each, others = (comfyui.images(finished, node) for node in previews)
    assert np.array_equal(ours[0], others[0]) and len(each) == 2
    assert abs(shown - ours[0].mean() / 2.55) < 0.3 and abs(shown - plain) > 1
    viewer.find(".ca-method").select_option("soft")
    expect(viewer.find("input.ca-holes")).to_be_disabled()
    expect(viewer.find("input.ca-grow")).to_be_enabled()


def test_a_mask_goes_to_the_mask_editor_and_back(editor: Editor, comfyui: Client) -> None:
    workflow = ViewerWorkflow()
    preview = workflow.graph.add("MaskPreview", mask=workflow.viewer[2])
    viewer, *_ = open_viewer(editor, comfyui, workflow)
    editor.set_widgets(workflow.viewer, **READING, concepts="grass", method="argmax")
    before = comfyui.images(editor.run(), preview)[0]
    viewer.find(".ca-edit").click()
    save = editor.page.locator("[role=dialog] button").filter(has_text="Save")
    try:
        save.wait_for()
        editor.page.wait_for_timeout(1500)  # the editor loads its layers
        editor.screenshot(f"mask_editor_{editor.renderer}")
        save.click()
        expect(save).to_be_hidden()
    finally:
        if save.is_visible():
            editor.reload()  # the editor would cover the page for all further tests
    expect(viewer.find(".ca-discard")).to_be_visible()
    assert editor.value(workflow.viewer, "edited").startswith("0: ")
    after = comfyui.images(editor.run(), preview)[0]
    assert 0 < before.mean() < 255 and np.abs(after.astype(int) - before.astype(int)).max() <= 2
    editor.set_widgets(workflow.viewer, concepts="sky")
    assert abs(area(viewer) - before.mean() / 2.55) < 0.3  # what is picked does not change it
    editor.screenshot(f"viewer_edited_{editor.renderer}")
    viewer.find(".ca-discard").click()
    expect(viewer.find(".ca-discard")).to_be_hidden()
    assert editor.value(workflow.viewer, "edited") == ""
    # of the mask editor itself, in a browser without a GPU
    editor.errors.found[:] = [error for error in editor.errors.found if "TypeGPU" not in error.text]
