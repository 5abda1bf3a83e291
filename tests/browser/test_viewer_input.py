"""The viewer by keyboard, mouse and touch, at all widths, in Chinese; its saved images and copied values."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image, ImageSequence
from playwright.sync_api import expect
from torch import Tensor

from concept_attention.drawing import overlay
from concept_attention.heatmaps.heatmaps import make_heatmaps
from concept_attention.heatmaps.masks import make_masks
from concept_attention.recording.recording import Recording
from concept_attention.videos import is_video, read_video

from ..support.browser.editor import Editor
from ..support.browser.viewer_page import (
    HEIGHT,
    VIEW_BUTTONS,
    WAIT_UNTIL_STILL,
    WIDTH,
    ViewerPage,
    ViewerWorkflow,
    assert_shows,
    open_viewer,
    shares,
)
from ..support.server.client import Client
from .conftest import HEIGHT as PAGE_HEIGHT

WIDTHS = (300, 460, 760, 1200)  # of the node, pixels
MARGINS = 40  # of a widget in its node, pixels
RESIZE = """([number, width]) => {
  const node = window.app.canvas.graph.getNodeById(number);
  node.setSize([width, node.size[1]]);
  window.app.canvas.setDirty(true, true);
}"""
PLACE = """(number) => {
  const { canvas } = window.app, node = canvas.graph.getNodeById(number);
  return { at: [...node.pos], offset: [...canvas.ds.offset], scale: canvas.ds.scale,
           zoom: node.properties.concept_attention_viewer.look?.zoom.scale ?? 1 };
}"""
CUT_OFF = """(viewer) => {
  const { left, right, bottom } = viewer.getBoundingClientRect();
  const scrolled = ".ca-thumbnails *, .ca-bars *, .ca-live";
  return [...viewer.querySelectorAll("*:not(svg *)")].filter((part) => {
    const box = part.getBoundingClientRect();
    const inside = box.left >= left - 1.5 && box.right <= right + 1.5 && box.bottom <= bottom + 1.5;
    const shortened = part.matches(".ca-chosen, .ca-name, .ca-area") && part.scrollWidth > part.clientWidth + 1;
    return box.width && (shortened || (!inside && !part.matches(scrolled)));
  }).map((part) => `${part.tagName}.${part.className}`);
}"""


def place(editor: Editor, workflow: ViewerWorkflow) -> dict[str, Any]:
    """Where the viewer's node and the graph are, and how far the image is zoomed in."""
    editor.wait_for_drawing()
    return dict(editor.page.evaluate(PLACE, workflow.viewer.number))


def assert_copied(editor: Editor, viewer: ViewerPage, recording: Recording) -> None:
    """The clipboard has the values at the cursor."""
    head, *lines = str(editor.page.evaluate("() => navigator.clipboard.readText()")).splitlines()
    x, y = viewer.pixel()
    assert head == f"share\tx {x}, y {y}"
    expected = shares(recording)[0, :, y, x]
    for line, concept, share in zip(lines, recording.concepts, expected.tolist(), strict=True):
        name, number = line.split("\t")
        assert name == concept.name and abs(float(number) - share) < 1e-4


def middle(viewer: ViewerPage) -> tuple[float, float]:
    viewer.wait_until_ready()
    box = viewer.image.bounding_box()
    assert box
    return box["x"] + box["width"] / 2, box["y"] + box["height"] / 2


def test_everything_works_by_keyboard(editor: Editor, comfyui: Client) -> None:
    editor.page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    workflow = ViewerWorkflow()
    viewer, recording, _ = open_viewer(editor, comfyui, workflow)
    before = place(editor, workflow)
    press = editor.page.keyboard.press
    viewer.wait_until_ready()
    viewer.image.focus()
    for key in ("ArrowRight", "ArrowRight", "ArrowUp", "Shift+ArrowLeft", "Shift+ArrowDown"):
        press(key)
    assert_shows(viewer, recording)
    expect(viewer.find(".ca-live")).to_contain_text(str(viewer.winner()))
    press("c")
    expect(viewer.find(".ca-message")).to_have_text("Copied.")
    assert_copied(editor, viewer, recording)
    winner = viewer.winner()
    press("Enter")
    assert editor.value(workflow.viewer, "concepts") == winner
    press("+")
    assert place(editor, workflow)["zoom"] == 1.25
    press("0")
    press("Escape")
    expect(viewer.find(".ca-where")).to_have_text("Mean over the image")
    names = [concept.name for concept in recording.concepts]
    viewer.bar(names[0]).locator(".ca-pick").focus()
    press("ArrowDown")
    press("Enter")
    assert editor.value(workflow.viewer, "concepts") == names[1]
    viewer.find(".ca-thumbnails-steps button[tabindex='0']").focus()
    press("ArrowRight")
    press("Space")
    assert editor.value(workflow.viewer, "steps") == "1"
    viewer.slider("layers", 0).focus()
    press("Home")
    assert editor.value(workflow.viewer, "layers") == "all"
    assert place(editor, workflow) == {**before, "zoom": 1}  # neither node nor graph has moved


def test_wheel_and_middle_button_are_the_graph_s_until_the_image_has_the_focus(editor: Editor, comfyui: Client) -> None:
    workflow = ViewerWorkflow()
    viewer, *_ = open_viewer(editor, comfyui, workflow)
    mouse, before = editor.page.mouse, place(editor, workflow)
    viewer.hover(0.5, 0.5)
    mouse.wheel(0, -100)
    assert place(editor, workflow)["scale"] > before["scale"]
    editor.show_node(workflow.viewer)
    viewer.hover(0.5, 0.5)
    mouse.down(button="middle")
    x, y = middle(viewer)
    mouse.move(x + 60, y + 30, steps=4)
    mouse.up(button="middle")
    moved = place(editor, workflow)
    assert abs(moved["offset"][0] - before["offset"][0] - 60) <= 2 and moved["at"] == before["at"]
    editor.show_node(workflow.viewer)
    viewer.wait_until_ready()
    viewer.image.focus()
    viewer.hover(0.5, 0.5)
    mouse.wheel(0, -300)
    zoomed = place(editor, workflow)
    assert zoomed["zoom"] > 1.5 and zoomed["scale"] == before["scale"]


def test_the_wheel_zooms_the_image_without_a_click_on_it(editor: Editor, comfyui: Client) -> None:
    workflow = ViewerWorkflow()
    viewer, *_ = open_viewer(editor, comfyui, workflow)
    before = place(editor, workflow)
    viewer.find(".ca-where").click()  # anywhere in the viewer
    viewer.hover(0.5, 0.5)
    editor.page.mouse.wheel(0, -300)
    after = place(editor, workflow)
    assert after["zoom"] > 1.5 and after["scale"] == before["scale"]
    assert editor.value(workflow.viewer, "concepts") == ""


def test_two_fingers_zoom_the_image_under_them(editor: Editor, comfyui: Client) -> None:
    workflow = ViewerWorkflow()
    viewer, *_ = open_viewer(editor, comfyui, workflow)
    before = place(editor, workflow)
    x, y = middle(viewer)
    session = editor.page.context.new_cdp_session(editor.page)

    def touch(kind: str, *points: tuple[float, float]) -> None:
        fingers = [{"x": x, "y": y, "id": index} for index, (x, y) in enumerate(points)]
        session.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": fingers})

    touch("touchStart", (x - 30, y))
    touch("touchStart", (x - 30, y), (x + 30, y))
    for reach in (40, 50, 60):
        touch("touchMove", (x - reach, y), (x + reach, y))
    touch("touchEnd")
    after = place(editor, workflow)
    assert abs(after["zoom"] - 2) < 0.05
    assert (after["scale"], after["offset"], after["at"]) == (before["scale"], before["offset"], before["at"])
    assert editor.value(workflow.viewer, "concepts") == ""


def test_keys_are_listed_and_a_wipe_compares(editor: Editor, comfyui: Client) -> None:
    workflow = ViewerWorkflow()
    viewer, *_ = open_viewer(editor, comfyui, workflow)
    viewer.wait_until_ready()
    viewer.image.focus()
    editor.page.keyboard.press("?")
    expect(viewer.find(".ca-sheet")).to_contain_text("copy the values")
    editor.page.keyboard.press("Escape")
    expect(viewer.find(".ca-sheet")).to_be_hidden()
    expect(viewer.image).to_be_focused()
    viewer.find(VIEW_BUTTONS["segmentation"]).click()  # covers all of the image
    viewer.find("input.ca-opacity").fill("1")
    editor.page.wait_for_timeout(400)
    covered = viewer.drawn_image()
    viewer.find(".ca-wipe-button").click()
    viewer.find("input.ca-wipe").fill("0.5")
    editor.page.wait_for_timeout(400)
    wiped = viewer.drawn_image()
    editor.screenshot(f"viewer_wipe_{editor.renderer}")
    half = WIDTH // 2
    assert np.array_equal(wiped[:, half + 3 :], covered[:, half + 3 :])
    assert (wiped[:, : half - 3] != covered[:, : half - 3]).any(axis=-1).mean() > 0.9


def test_touch_reads_values_and_picks(editor: Editor, comfyui: Client) -> None:
    workflow = ViewerWorkflow()
    viewer, recording, _ = open_viewer(editor, comfyui, workflow)
    x, y = middle(viewer)
    session = editor.page.context.new_cdp_session(editor.page)

    def touch(kind: str, *points: tuple[float, float]) -> None:
        fingers = [{"x": x, "y": y} for x, y in points]
        session.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": fingers})

    touch("touchStart", (x, y - 40))
    touch("touchMove", (x, y))
    touch("touchMove", (x, y + 20))
    assert_shows(viewer, recording)
    touch("touchEnd")
    assert_shows(viewer, recording)  # the cursor stays when the finger leaves
    assert editor.value(workflow.viewer, "concepts") == ""
    touch("touchStart", (x, y))
    touch("touchEnd")
    assert_shows(viewer, recording)
    assert editor.value(workflow.viewer, "concepts") == viewer.winner()


def test_values_typed_into_the_widgets_are_shown(editor: Editor, comfyui: Client) -> None:
    workflow = ViewerWorkflow()
    viewer, recording, _ = open_viewer(editor, comfyui, workflow)
    viewer.wait_until_ready()
    viewer.image.focus()
    editor.page.keyboard.press("ArrowRight")
    editor.set_widgets(workflow.viewer, layers="0,2", steps="-1", concepts="sky, sun")
    assert_shows(viewer, recording, layers="0,2", steps="-1")
    expect(viewer.bar("sky").locator(".ca-pick")).to_have_attribute("aria-pressed", "true")
    editor.set_widgets(workflow.viewer, layers="77")
    expect(viewer.find(".ca-note")).to_contain_text("77")
    assert_shows(viewer, recording, layers="0,2", steps="-1")


def download(viewer: ViewerPage, button: str) -> bytes:
    with viewer.editor.page.expect_download() as started:
        viewer.find(button).click()
    return started.value.path().read_bytes()


def frames_of(path: Path) -> list[np.ndarray]:
    """The frames of an animation or a video, 0-255."""
    if is_video(path):
        return [np.rint(255 * frame.numpy()).astype(int) for frame in read_video(path)[0]]
    with Image.open(path) as moving:
        return [np.asarray(frame.convert("RGB")).astype(int) for frame in ImageSequence.Iterator(moving)]


def test_images_and_heatmaps_are_exported(editor: Editor, comfyui: Client) -> None:
    workflow = ViewerWorkflow()
    viewer, recording, _ = open_viewer(editor, comfyui, workflow)
    viewer.wait_until_ready()
    viewer.find(".ca-buttons .ca-export").click()
    viewer.find(".ca-export-width").fill("640")
    with Image.open(io.BytesIO(download(viewer, ".ca-export-png"))) as image:
        width, height = image.size
        assert width == 640 and height > 640 * HEIGHT // WIDTH  # the legend is below
        image.save(editor.screenshots / f"export_{editor.renderer}.png")
    with np.load(io.BytesIO(download(viewer, ".ca-export-npz"))) as archive:
        expected = make_heatmaps(recording).values[0]
        assert np.allclose(archive["heatmaps"], expected, atol=1e-4)
        about = json.loads(archive["about.json"])
    assert about["concepts"] == [concept.name for concept in recording.concepts]
    assert np.allclose(about["means"], shares(recording)[0].mean(dim=(1, 2)), atol=2e-3)


def test_the_steps_of_a_run_are_exported_as_an_animation(editor: Editor, comfyui: Client, tmp_path: Path) -> None:
    workflow = ViewerWorkflow()
    viewer, *_ = open_viewer(editor, comfyui, workflow)
    editor.set_widgets(workflow.viewer, concepts="sky", layers="0")  # where every step is different
    viewer.wait_until_ready()
    viewer.find(".ca-buttons .ca-export").click()
    viewer.find(".ca-export-width").fill("320")
    animations = {}
    for suffix in ("gif", "webp", "mp4"):
        animation = tmp_path / f"steps.{suffix}"
        animation.write_bytes(download(viewer, f".ca-export-{suffix}-steps"))
        animations[suffix] = frames_of(animation)
    stills = []
    for step in range(workflow.steps):
        editor.set_widgets(workflow.viewer, steps=str(step))
        viewer.wait_until_ready()
        with Image.open(io.BytesIO(download(viewer, ".ca-export-png"))) as still:
            stills.append(np.asarray(still.convert("RGB")).astype(int))
    height, width = stills[0].shape[:2]  # a video may be a pixel larger
    for suffix, frames in animations.items():
        assert len(frames) == workflow.steps
        shown = [frame[:height, :width] for frame in frames]
        differences = [np.abs(one - other).mean() for one, other in zip(shown, stills, strict=True)]
        assert max(differences) < 4 < np.abs(frames[0] - frames[-1]).mean(), (suffix, differences)


def test_nothing_is_cut_off_at_any_width(editor: Editor, comfyui: Client) -> None:
    workflow = ViewerWorkflow(batch=2)
    viewer, *_ = open_viewer(editor, comfyui, workflow)
    viewer.find(".ca-method").select_option("percentile")
    for width in WIDTHS:
        editor.page.evaluate(RESIZE, [workflow.viewer.number, width])
        viewer.image.evaluate(WAIT_UNTIL_STILL)
        editor.screenshot(f"viewer_{width}_{editor.renderer}")
        box = viewer.element.bounding_box()
        assert box and width - MARGINS <= box["width"] <= width
        beside = {**box, "x": box["x"] - 4, "width": 1, "height": min(box["height"], PAGE_HEIGHT - box["y"])}
        with Image.open(io.BytesIO(editor.page.screenshot(clip=beside))) as strip:  # type: ignore[arg-type]
            colours = np.unique(np.asarray(strip.convert("RGB")).reshape(-1, 3), axis=0)
        assert len(colours) == 1, (width, "the node does not reach as far down as the viewer")
        assert viewer.element.evaluate(CUT_OFF) == [], width


def test_its_texts_are_chinese_in_a_chinese_front_end(editor: Editor, comfyui: Client) -> None:
    editor.set("Comfy.Locale", "zh")
    try:
        viewer, *_ = open_viewer(editor, comfyui, ViewerWorkflow())
        expect(viewer.find(".ca-views button[data-view=overlay]")).to_have_text("叠加")
        expect(viewer.find(".ca-where")).to_have_text("整张图像的平均值")
    finally:
        editor.set("Comfy.Locale", "en")


def drawn(view: str, recording: Recording, image: Tensor) -> Tensor:
    """The library's drawing of `sun` at opacity 0.5, (H, W, 3), 0-1."""
    heatmaps = make_heatmaps(recording)
    if view == "segmentation":
        return overlay.overlay_segmentation(image, heatmaps, opacity=0.5, legend=False)
    if view == "mask":
        outside = 1 - make_masks(heatmaps, "sun")[0]
        return image * (1 - 0.5 * outside[..., None])
    each = overlay.overlay_each(image, heatmaps, colormap="cividis", opacity=0.5, legend=False)
    return each[heatmaps.index("sun")]


def test_saved_views_equal_the_library_s_drawings_and_hold_their_settings(editor: Editor, comfyui: Client) -> None:
    workflow = ViewerWorkflow()
    preview = workflow.graph.add("PreviewImage", images=workflow.image[0])
    viewer, recording, finished = open_viewer(editor, comfyui, workflow)
    image = torch.from_numpy(comfyui.images(finished, preview)[0].astype(np.float32) / 255)
    editor.set_widgets(workflow.viewer, concepts="sun")
    viewer.find(".ca-colormap").select_option("cividis")
    viewer.find(".ca-opacity").fill("0.5")
    for view in ("overlay", "segmentation", "mask"):
        viewer.find(f".ca-views button[data-view={view}]").click()
        editor.page.wait_for_timeout(300)
        with editor.page.expect_download() as download:
            viewer.find(".ca-save").click()
        assert download.value.suggested_filename == f"concept-{view}-sun.png"
        with Image.open(io.BytesIO(download.value.path().read_bytes())) as saved:
            settings = json.loads(saved.text["concept_attention"])  # type: ignore[attr-defined]
            pixels = torch.from_numpy(np.asarray(saved.convert("RGB")).astype(np.float32) / 255)
        assert (settings["view"], settings["picked"], settings["opacity"]) == (view, ["sun"], 0.5)
        assert settings["layers"] == [2, 3] and settings["steps"] == list(range(workflow.steps))
        difference = (pixels - drawn(view, recording, image)).abs().amax(dim=-1)
        assert tuple(difference.shape) == (HEIGHT, WIDTH)
        # the picked concept has an outline, and at edges rounding may change the winner
        allowed = 0.2 if view == "segmentation" else 0.0  # it has names, too
        assert (difference > 3 / 255).float().mean() <= allowed, (view, difference.max())
