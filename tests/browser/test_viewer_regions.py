"""The viewer outlines the regions where something acted, with their names, until they are switched off."""

from __future__ import annotations

import base64
import io

import numpy as np
import torch
from PIL import Image
from playwright.sync_api import expect

from concept_attention.heatmaps.resize import resize_maps

from ..support.browser.editor import Editor
from ..support.browser.viewer_page import HEIGHT, WIDTH, ViewerPage, ViewerWorkflow, open_viewer
from ..support.server.client import Client

YELLOW = (0xFF, 0xD4, 0x00)
TOGGLE = ".ca-buttons .ca-regions"


class RegionWorkflow(ViewerWorkflow):
    """The same with a second prompt where the sky is."""

    def __post_init__(self) -> None:
        super().__post_init__()
        night = self.graph.add("CLIPTextEncode", clip=self.start.clip, text="a house on grass at night")
        region = self.graph.add(
            "ConceptRegion",
            model=self.start.model,
            conditioning=self.start.positive[0],
            regional=night[0],
            concepts=self.start.encoded[0],
            concept="sky",
        )
        inputs = self.graph.as_prompt()[self.sampler.number]["inputs"]
        inputs.update(model=region[0], positive=region[1])


def drawn(viewer: ViewerPage) -> np.ndarray:
    """The image on the viewer's canvas, (H, W, 3), in the canvas' pixels."""
    data = str(viewer.image.evaluate("(canvas) => canvas.toDataURL()")).split(",")[1]
    with Image.open(io.BytesIO(base64.b64decode(data))) as canvas:
        pixels = np.asarray(canvas.convert("RGB"))
    scale = min(pixels.shape[0] / HEIGHT, pixels.shape[1] / WIDTH)
    height, width = round(HEIGHT * scale), round(WIDTH * scale)
    top, left = (pixels.shape[0] - height) // 2, (pixels.shape[1] - width) // 2
    return pixels[top : top + height, left : left + width]


def yellow(viewer: ViewerPage) -> np.ndarray:
    """Where the image on the canvas has the regions' colour, (H, W)."""
    viewer.wait_until_ready()
    viewer.find(".ca-thumbnails button").first.wait_for()  # drawn in full
    viewer.editor.wait_for_drawing()
    return np.asarray((drawn(viewer) == YELLOW).all(axis=-1))


def outline(mask: np.ndarray) -> np.ndarray:
    """The pixels inside a mask that have a neighbour outside."""
    padded = np.pad(mask, 1, mode="edge")
    neighbours = (padded[:-2, 1:-1], padded[2:, 1:-1], padded[1:-1, :-2], padded[1:-1, 2:])
    return np.asarray(mask & ~np.logical_and.reduce(neighbours))


def test_a_region_is_outlined_where_it_acted_until_it_is_switched_off(editor: Editor, comfyui: Client) -> None:
    viewer, recording, _ = open_viewer(editor, comfyui, RegionWorkflow())
    assert recording.regions == ("sky",) and recording.region_masks is not None
    toggle = viewer.find(TOGGLE)
    expect(toggle).to_have_attribute("aria-pressed", "true")
    found = yellow(viewer)
    editor.screenshot(f"viewer_regions_{editor.renderer}")
    mask = resize_maps(recording.region_masks[0, 0], (found.shape[0], found.shape[1]))[0]
    expected = outline((mask / mask.amax() > 0.5).numpy())
    assert expected.sum() > 100
    assert (found & expected).sum() > 0.9 * expected.sum()
    beside = torch.nn.functional.max_pool2d(torch.from_numpy(expected)[None].float(), 3, 1, 1)[0].numpy() > 0
    assert (found & ~beside).sum() > 20  # the name
    toggle.click()
    expect(toggle).to_have_attribute("aria-pressed", "false")
    assert not yellow(viewer).any()
    toggle.click()
    assert (yellow(viewer) & expected).sum() > 0.9 * expected.sum()


def test_without_regions_there_is_nothing_to_switch(editor: Editor, comfyui: Client) -> None:
    viewer, *_ = open_viewer(editor, comfyui, ViewerWorkflow())
    expect(viewer.find(TOGGLE)).to_be_hidden()
    assert not yellow(viewer).any()
