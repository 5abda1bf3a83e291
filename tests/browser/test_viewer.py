"""The viewer in ComfyUI's front end: it shows the recording's numbers, and its mask is that of the plain nodes."""

from __future__ import annotations

import numpy as np
from playwright.sync_api import expect

from ..support.browser.editor import Editor
from ..support.browser.viewer_page import HEIGHT, LOOK, WIDTH, Scene, assert_shows, run
from ..support.server.client import Client


def test_the_bars_are_the_recording_s_shares_at_the_pointer(editor: Editor, comfyui: Client) -> None:
    looking, recording, _ = run(editor, comfyui, Scene())
    for x, y in ((0.02, 0.03), (0.31, 0.64), (0.5, 0.5), (0.97, 0.96)):
        looking.hover(x, y)
        column, row = looking.pixel()
        assert abs(column - x * WIDTH) <= 1.5 and abs(row - y * HEIGHT) <= 1.5
        assert_shows(looking, recording)
    editor.shoot(f"viewer_{editor.renderer}")


def test_scrubbing_reads_other_steps_and_layers(editor: Editor, comfyui: Client) -> None:
    scene = Scene()
    looking, recording, _ = run(editor, comfyui, scene)
    looking.ready()
    looking.picture.focus()
    editor.page.keyboard.press("ArrowRight")  # the keyboard's cursor begins in the middle and stays
    assert_shows(looking, recording)
    looking.slider("steps", -1).fill("2")
    looking.slider("steps", 0).fill("1")
    assert_shows(looking, recording, steps="1-2")
    looking.slider("layers", 0).fill("0")
    assert_shows(looking, recording, steps="1-2", layers="0-3")
    looking.slider("layers", -1).fill("1")
    assert_shows(looking, recording, steps="1-2", layers="0-1")
    looking.find(".ca-strip button").nth(3).click()
    assert_shows(looking, recording, steps="3", layers="0-1")
    assert (editor.value(scene.viewer, "steps"), editor.value(scene.viewer, "layers")) == ("3", "0-1")


def test_the_mask_of_what_was_chosen_is_that_of_the_plain_nodes(editor: Editor, comfyui: Client) -> None:
    chosen = {"layers": "0-1", "steps": "1-3", "concepts": "sun, sky", "method": "threshold", "threshold": 0.35}
    scene = Scene()
    masks = scene.show_masks(**chosen)
    looking, *_ = run(editor, comfyui, scene)
    looking.slider("steps", 0).fill("1")
    looking.slider("layers", 0).fill("0")
    looking.slider("layers", -1).fill("1")
    looking.bar("sun").locator(".ca-pick").click()
    looking.bar("sky").locator(".ca-pin").click()
    looking.find("select.ca-method").select_option("threshold")
    looking.find("input.ca-threshold").fill("0.35")
    looking.find(LOOK["mask"]).click()
    editor.shoot(f"viewer_mask_{editor.renderer}")
    assert {name: editor.value(scene.viewer, name) for name in chosen} == chosen
    finished = editor.run()
    ours, plain = (comfyui.images(finished, node)[0] for node in masks)
    assert np.array_equal(ours, plain) and 0 < ours.mean() < 255
    assert scene.recording.number in finished.cached  # nothing is sampled again


def test_nothing_runs_again_while_only_the_look_has_changed(editor: Editor, comfyui: Client) -> None:
    scene = Scene()
    looking, *_ = run(editor, comfyui, scene)
    looking.find(LOOK["sides"]).click()
    looking.find("input.ca-opacity").fill("0.3")
    editor.shoot(f"viewer_sides_{editor.renderer}")
    assert scene.viewer.number in editor.run().cached
    expect(looking.find(LOOK["sides"])).to_have_attribute("aria-pressed", "true")


def test_a_click_picks_the_concept_that_wins_there(editor: Editor, comfyui: Client) -> None:
    scene = Scene()
    looking, *_ = run(editor, comfyui, scene)
    looking.hover(0.5, 0.1)
    winner = looking.winner()
    editor.page.mouse.down()
    editor.page.mouse.up()
    assert winner and editor.value(scene.viewer, "concepts") == winner
    expect(looking.bar(winner).locator(".ca-pick")).to_have_attribute("aria-pressed", "true")


def test_every_picture_of_a_batch_has_its_own_numbers(editor: Editor, comfyui: Client) -> None:
    looking, recording, _ = run(editor, comfyui, Scene(batch=3))
    for picture in (0, 1, 2):
        looking.hover(0.4, 0.7)
        assert_shows(looking, recording, picture)
        looking.find(".ca-pictures .ca-next").click()
    editor.shoot(f"viewer_batch_{editor.renderer}")


def test_two_viewers_in_one_graph_are_independent(editor: Editor, comfyui: Client) -> None:
    scene = Scene()
    other = scene.look(concepts="grass", layers="3")
    first, recording, _ = run(editor, comfyui, scene)
    first.bar("sun").locator(".ca-pick").click()
    second = type(first)(editor, other)
    second.hover(0.3, 0.3)
    assert_shows(second, recording, layers="3")
    assert [editor.value(node, "concepts") for node in (scene.viewer, other)] == ["sun", "grass"]
    expect(second.bar("sun").locator(".ca-pick")).to_have_attribute("aria-pressed", "false")


def test_segments_and_palettes(editor: Editor, comfyui: Client) -> None:
    looking, *_ = run(editor, comfyui, Scene())
    looking.find(LOOK["segmentation"]).click()
    editor.shoot(f"viewer_segments_{editor.renderer}")
    editor.set("Comfy.ColorPalette", "light")
    editor.shoot(f"viewer_light_{editor.renderer}")
    editor.set("Comfy.ColorPalette", "dark")
