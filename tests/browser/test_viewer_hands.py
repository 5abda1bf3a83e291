"""The viewer under every kind of hand, in every width and language; and what is taken away from it."""

from __future__ import annotations

import io
import json
from typing import Any

import numpy as np
import torch
from PIL import Image
from playwright.sync_api import expect
from torch import Tensor

from concept_attention.drawing import overlay
from concept_attention.heatmaps.heatmaps import make_heatmaps
from concept_attention.heatmaps.masks import make_masks
from concept_attention.recording.recording import Recording

from ..support.browser.editor import Editor
from ..support.browser.viewer_page import HEIGHT, STILL, WIDTH, Looking, Scene, assert_shows, run, shares
from ..support.server.client import Client

WIDTHS = (300, 460, 760, 1200)  # of the node, pixels
RESIZE = """([number, width]) => {
  const node = window.app.canvas.graph.getNodeById(number);
  node.setSize([width, node.size[1]]);
}"""
PLACE = """(number) => {
  const { canvas } = window.app, node = canvas.graph.getNodeById(number);
  return { at: [...node.pos], offset: [...canvas.ds.offset], scale: canvas.ds.scale,
           zoom: node.properties.concept_attention_viewer.look?.zoom.scale ?? 1 };
}"""
CUT_OFF = """(viewer) => {
  const { left, right, bottom } = viewer.getBoundingClientRect();
  const scrolled = ".ca-strip *, .ca-bars *, .ca-live";
  return [...viewer.querySelectorAll("*:not(svg *)")].filter((part) => {
    const box = part.getBoundingClientRect();
    const inside = box.left >= left - 1.5 && box.right <= right + 1.5 && box.bottom <= bottom + 1.5;
    return box.width && !inside && !part.matches(scrolled);
  }).map((part) => `${part.tagName}.${part.className}`);
}"""


def place(editor: Editor, scene: Scene) -> dict[str, Any]:
    """Where the viewer's node and the graph are, and how much the picture is magnified."""
    editor.rest()
    return dict(editor.page.evaluate(PLACE, scene.viewer.number))


def assert_copied(editor: Editor, looking: Looking, recording: Recording) -> None:
    """The clipboard has the numbers of the pixel that is pointed at."""
    head, *lines = str(editor.page.evaluate("() => navigator.clipboard.readText()")).splitlines()
    x, y = looking.pixel()
    assert head == f"share\tx {x}, y {y}"
    expected = shares(recording)[0, :, y, x]
    for line, concept, share in zip(lines, recording.concepts, expected.tolist(), strict=True):
        name, number = line.split("\t")
        assert name == concept.name and abs(float(number) - share) < 1e-4


def middle(looking: Looking) -> tuple[float, float]:
    looking.ready()
    box = looking.picture.bounding_box()
    assert box
    return box["x"] + box["width"] / 2, box["y"] + box["height"] / 2


def test_everything_goes_by_keyboard(editor: Editor, comfyui: Client) -> None:
    editor.page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    scene = Scene()
    looking, recording, _ = run(editor, comfyui, scene)
    before = place(editor, scene)
    press = editor.page.keyboard.press
    looking.ready()
    looking.picture.focus()
    for key in ("ArrowRight", "ArrowRight", "ArrowUp", "Shift+ArrowLeft", "Shift+ArrowDown"):
        press(key)
    assert_shows(looking, recording)
    expect(looking.find(".ca-live")).to_contain_text(str(looking.winner()))
    press("c")
    expect(looking.find(".ca-message")).to_have_text("Copied.")
    assert_copied(editor, looking, recording)
    winner = looking.winner()
    press("Enter")
    assert editor.value(scene.viewer, "concepts") == winner
    press("+")
    assert place(editor, scene)["zoom"] == 1.25
    press("0")
    press("Escape")
    expect(looking.find(".ca-where")).to_have_text("Mean over the picture")
    names = [concept.name for concept in recording.concepts]
    looking.bar(names[0]).locator(".ca-pick").focus()
    press("ArrowDown")
    press("Enter")
    assert editor.value(scene.viewer, "concepts") == names[1]
    looking.find(".ca-strip button[tabindex='0']").focus()
    press("ArrowRight")
    press("Space")
    assert editor.value(scene.viewer, "steps") == "1"
    looking.slider("layers", 0).focus()
    press("Home")
    assert editor.value(scene.viewer, "layers") == "all"
    assert place(editor, scene) == {**before, "zoom": 1}  # neither node nor graph has moved


def test_wheel_and_middle_button_are_the_graph_s_until_the_picture_has_the_focus(
    editor: Editor, comfyui: Client
) -> None:
    scene = Scene()
    looking, *_ = run(editor, comfyui, scene)
    mouse, before = editor.page.mouse, place(editor, scene)
    looking.hover(0.5, 0.5)
    mouse.wheel(0, -100)
    assert place(editor, scene)["scale"] > before["scale"]
    editor.look_at(scene.viewer)
    looking.hover(0.5, 0.5)
    mouse.down(button="middle")
    x, y = middle(looking)
    mouse.move(x + 60, y + 30, steps=4)
    mouse.up(button="middle")
    moved = place(editor, scene)
    assert abs(moved["offset"][0] - before["offset"][0] - 60) <= 2 and moved["at"] == before["at"]
    editor.look_at(scene.viewer)
    looking.ready()
    looking.picture.focus()
    looking.hover(0.5, 0.5)
    mouse.wheel(0, -300)
    zoomed = place(editor, scene)
    assert zoomed["zoom"] > 1.5 and zoomed["scale"] == before["scale"]


def test_a_finger_looks_and_picks(editor: Editor, comfyui: Client) -> None:
    scene = Scene()
    looking, recording, _ = run(editor, comfyui, scene)
    x, y = middle(looking)
    session = editor.page.context.new_cdp_session(editor.page)

    def touch(kind: str, *points: tuple[float, float]) -> None:
        fingers = [{"x": x, "y": y} for x, y in points]
        session.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": fingers})

    touch("touchStart", (x, y - 40))
    touch("touchMove", (x, y))
    touch("touchMove", (x, y + 20))
    assert_shows(looking, recording)
    touch("touchEnd")
    assert_shows(looking, recording)  # a finger that has left is no mouse
    assert editor.value(scene.viewer, "concepts") == ""
    touch("touchStart", (x, y))
    touch("touchEnd")
    assert_shows(looking, recording)
    assert editor.value(scene.viewer, "concepts") == looking.winner()


def test_what_is_typed_into_the_widgets_is_shown(editor: Editor, comfyui: Client) -> None:
    scene = Scene()
    looking, recording, _ = run(editor, comfyui, scene)
    looking.ready()
    looking.picture.focus()
    editor.page.keyboard.press("ArrowRight")
    editor.type_in(scene.viewer, layers="0,2", steps="-1", concepts="sky, sun")
    assert_shows(looking, recording, layers="0,2", steps="-1")
    expect(looking.bar("sky").locator(".ca-pick")).to_have_attribute("aria-pressed", "true")
    editor.type_in(scene.viewer, layers="77")
    expect(looking.find(".ca-note")).to_contain_text("77")
    assert_shows(looking, recording, layers="0,2", steps="-1")


def test_nothing_is_cut_off_at_any_width(editor: Editor, comfyui: Client) -> None:
    scene = Scene(batch=2)
    looking, *_ = run(editor, comfyui, scene)
    looking.find(".ca-method").select_option("percentile")
    for width in WIDTHS:
        editor.page.evaluate(RESIZE, [scene.viewer.number, width])
        looking.picture.evaluate(STILL)
        editor.shoot(f"viewer_{width}_{editor.renderer}")
        assert looking.element.evaluate(CUT_OFF) == [], width


def test_it_speaks_chinese(editor: Editor, comfyui: Client) -> None:
    editor.set("Comfy.Locale", "zh")
    try:
        looking, *_ = run(editor, comfyui, Scene())
        expect(looking.find(".ca-views button[data-view=overlay]")).to_have_text("叠加")
        expect(looking.find(".ca-where")).to_have_text("整张图像的平均值")
    finally:
        editor.set("Comfy.Locale", "en")


def drawn(view: str, recording: Recording, image: Tensor) -> Tensor:
    """What the library draws of `sun`, at opacity 0.5, (H, W, 3), 0-1."""
    heatmaps = make_heatmaps(recording)
    if view == "segmentation":
        return overlay.overlay_segmentation(image, heatmaps, opacity=0.5, legend=False)
    if view == "mask":
        outside = 1 - make_masks(heatmaps, "sun")[0]
        return image * (1 - 0.5 * outside[..., None])
    each = overlay.overlay_each(image, heatmaps, colormap="cividis", opacity=0.5, legend=False)
    return each[heatmaps.index("sun")]


def test_saved_views_are_what_the_library_draws_and_hold_their_settings(editor: Editor, comfyui: Client) -> None:
    scene = Scene()
    preview = scene.graph.add("PreviewImage", images=scene.picture[0])
    looking, recording, finished = run(editor, comfyui, scene)
    image = torch.from_numpy(comfyui.images(finished, preview)[0].astype(np.float32) / 255)
    editor.type_in(scene.viewer, concepts="sun")
    looking.find(".ca-colormap").select_option("cividis")
    looking.find(".ca-opacity").fill("0.5")
    for view in ("overlay", "segmentation", "mask"):
        looking.find(f".ca-views button[data-view={view}]").click()
        editor.page.wait_for_timeout(300)
        with editor.page.expect_download() as download:
            looking.find(".ca-save").click()
        assert download.value.suggested_filename == f"concept-{view}-sun.png"
        with Image.open(io.BytesIO(download.value.path().read_bytes())) as saved:
            settings = json.loads(saved.text["concept_attention"])  # type: ignore[attr-defined]
            pixels = torch.from_numpy(np.asarray(saved.convert("RGB")).astype(np.float32) / 255)
        assert (settings["view"], settings["picked"], settings["opacity"]) == (view, ["sun"], 0.5)
        assert settings["layers"] == [2, 3] and settings["steps"] == list(range(scene.steps))
        difference = (pixels - drawn(view, recording, image)).abs().amax(dim=-1)
        assert tuple(difference.shape) == (HEIGHT, WIDTH)
        # a border is drawn around the picked concept's place, and next to it the winner may be another by rounding
        allowed = 0.12 if view == "segmentation" else 0.0
        assert (difference > 3 / 255).float().mean() <= allowed, (view, difference.max())
