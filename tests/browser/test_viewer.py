"""The viewer in ComfyUI's front end: it shows the recording's values, and its mask equals that of the other nodes."""

from __future__ import annotations

import re

import numpy as np
from playwright.sync_api import expect

from concept_attention.drawing.colormaps import concept_colors

from ..support.browser.editor import Editor
from ..support.browser.viewer_page import (
    HEIGHT,
    VIEW_BUTTONS,
    WIDTH,
    ViewerWorkflow,
    assert_shows,
    open_viewer,
    shares,
)
from ..support.server.client import Client

VARIED = {"layers": "0", "steps": "3"}  # where several concepts have segments
CLEAR = 0.05  # difference in share between the highest and the second concept
NAMES_AREA = 0.06  # part of the image that names on segments cover at most
CONTRAST = 4.5  # of text, WCAG 2 AA
BACKGROUNDS = "(elements) => elements.map((element) => getComputedStyle(element).backgroundColor)"
COLOURS = "(element) => [getComputedStyle(element).color, getComputedStyle(element).backgroundColor]"


def test_the_bars_are_the_recording_s_shares_at_the_pointer(editor: Editor, comfyui: Client) -> None:
    viewer, recording, _ = open_viewer(editor, comfyui, ViewerWorkflow())
    for x, y in ((0.02, 0.03), (0.31, 0.64), (0.5, 0.5), (0.97, 0.96)):
        viewer.hover(x, y)
        column, row = viewer.pixel()
        assert abs(column - x * WIDTH) <= 1.5 and abs(row - y * HEIGHT) <= 1.5
        assert_shows(viewer, recording)
    editor.screenshot(f"viewer_{editor.renderer}")


def test_sliders_and_thumbnails_choose_steps_and_layers(editor: Editor, comfyui: Client) -> None:
    workflow = ViewerWorkflow()
    viewer, recording, _ = open_viewer(editor, comfyui, workflow)
    viewer.wait_until_ready()
    viewer.image.focus()
    editor.page.keyboard.press("ArrowRight")  # puts the cursor in the middle
    assert_shows(viewer, recording)
    viewer.slider("steps", -1).fill("2")
    viewer.slider("steps", 0).fill("1")
    assert_shows(viewer, recording, steps="1-2")
    viewer.slider("layers", 0).fill("0")
    assert_shows(viewer, recording, steps="1-2", layers="0-3")
    viewer.slider("layers", -1).fill("1")
    assert_shows(viewer, recording, steps="1-2", layers="0-1")
    viewer.find(".ca-thumbnails button").nth(3).click()
    assert_shows(viewer, recording, steps="3", layers="0-1")
    assert (editor.value(workflow.viewer, "steps"), editor.value(workflow.viewer, "layers")) == ("3", "0-1")


def test_the_chosen_mask_equals_that_of_the_other_nodes(editor: Editor, comfyui: Client) -> None:
    chosen = {"layers": "0-1", "steps": "1-3", "concepts": "sun, sky", "method": "threshold", "threshold": 0.35}
    workflow = ViewerWorkflow()
    masks = workflow.preview_masks(**chosen)
    viewer, *_ = open_viewer(editor, comfyui, workflow)
    viewer.slider("steps", 0).fill("1")
    viewer.slider("layers", 0).fill("0")
    viewer.slider("layers", -1).fill("1")
    viewer.bar("sun").locator(".ca-pick").click()
    viewer.bar("sky").locator(".ca-pin").click()
    viewer.find("select.ca-method").select_option("threshold")
    viewer.find("input.ca-threshold").fill("0.35")
    viewer.find(VIEW_BUTTONS["mask"]).click()
    editor.screenshot(f"viewer_mask_{editor.renderer}")
    assert {name: editor.value(workflow.viewer, name) for name in chosen} == chosen
    finished = editor.run()
    ours, others = (comfyui.images(finished, node)[0] for node in masks)
    assert np.array_equal(ours, others) and 0 < ours.mean() < 255
    assert workflow.recording.number in finished.cached  # nothing is sampled again


def test_nothing_runs_again_when_only_the_display_has_changed(editor: Editor, comfyui: Client) -> None:
    workflow = ViewerWorkflow()
    viewer, *_ = open_viewer(editor, comfyui, workflow)
    viewer.find(VIEW_BUTTONS["sides"]).click()
    viewer.find("input.ca-opacity").fill("0.3")
    editor.screenshot(f"viewer_sides_{editor.renderer}")
    assert workflow.viewer.number in editor.run().cached
    expect(viewer.find(VIEW_BUTTONS["sides"])).to_have_attribute("aria-pressed", "true")


def test_a_click_picks_the_concept_with_the_highest_value(editor: Editor, comfyui: Client) -> None:
    workflow = ViewerWorkflow()
    viewer, *_ = open_viewer(editor, comfyui, workflow)
    viewer.hover(0.5, 0.1)
    winner = viewer.winner()
    editor.page.mouse.down()
    editor.page.mouse.up()
    assert winner and editor.value(workflow.viewer, "concepts") == winner
    expect(viewer.bar(winner).locator(".ca-pick")).to_have_attribute("aria-pressed", "true")


def test_each_image_of_a_batch_has_its_own_values(editor: Editor, comfyui: Client) -> None:
    viewer, recording, _ = open_viewer(editor, comfyui, ViewerWorkflow(batch=3))
    for image in (0, 1, 2):
        viewer.hover(0.4, 0.7)
        assert_shows(viewer, recording, image)
        viewer.find(".ca-images .ca-next").click()
    editor.screenshot(f"viewer_batch_{editor.renderer}")


def test_two_viewers_in_one_graph_are_independent(editor: Editor, comfyui: Client) -> None:
    workflow = ViewerWorkflow()
    other = workflow.add_viewer(concepts="grass", layers="3")
    first, recording, _ = open_viewer(editor, comfyui, workflow)
    first.bar("sun").locator(".ca-pick").click()
    second = type(first)(editor, other)
    second.hover(0.3, 0.3)
    assert_shows(second, recording, layers="3")
    assert [editor.value(node, "concepts") for node in (workflow.viewer, other)] == ["sun", "grass"]
    expect(second.bar("sun").locator(".ca-pick")).to_have_attribute("aria-pressed", "false")


def test_segments_have_the_library_s_colours(editor: Editor, comfyui: Client) -> None:
    workflow = ViewerWorkflow()
    viewer, recording, _ = open_viewer(editor, comfyui, workflow)
    editor.set_widgets(workflow.viewer, **VARIED)
    viewer.find(VIEW_BUTTONS["segmentation"]).click()
    viewer.find("input.ca-opacity").fill("1")
    editor.screenshot(f"viewer_segments_{editor.renderer}")
    each = shares(recording, **VARIED)[0]  # (C, H, W)
    highest, second = each.topk(2, dim=0).values
    clear = (highest - second > CLEAR).numpy()  # at edges the canvas has other samples than the image
    winners = each.argmax(dim=0).numpy()
    palette = (concept_colors(len(recording.concepts)) * 255).round().byte().numpy()
    drawn = viewer.drawn_image()
    equal = (drawn[clear] == palette[winners][clear]).all(axis=-1)
    assert equal.mean() > 1 - NAMES_AREA
    assert clear.mean() > 0.9 and len(np.unique(winners[clear])) > 2
    swatches = viewer.find(".ca-swatch").evaluate_all(BACKGROUNDS)
    assert swatches == [f"rgb({', '.join(map(str, colour))})" for colour in palette.tolist()]


def test_its_text_is_legible_in_every_palette(editor: Editor, comfyui: Client) -> None:
    viewer, *_ = open_viewer(editor, comfyui, ViewerWorkflow())
    luminances = {}
    for palette in ("light", "dark"):
        editor.set("Comfy.ColorPalette", palette)
        editor.screenshot(f"viewer_{palette}_{editor.renderer}")
        text, field = viewer.find("select.ca-method").evaluate(COLOURS)
        luminances[palette] = luminance(text), luminance(field)
    assert luminances["light"][0] < luminances["light"][1] and luminances["dark"][0] > luminances["dark"][1]
    for darker, lighter in map(sorted, luminances.values()):
        assert (lighter + 0.05) / (darker + 0.05) >= CONTRAST, luminances


def luminance(colour: str) -> float:
    """Relative luminance of a CSS colour such as `rgb(0, 0, 0)`, as WCAG 2 defines it."""
    channels = np.array([float(part) for part in re.findall(r"[\d.]+", colour)[:3]]) / 255
    linear = np.where(channels <= 0.04045, channels / 12.92, ((channels + 0.055) / 1.055) ** 2.4)
    return float(linear @ np.array([0.2126, 0.7152, 0.0722]))
