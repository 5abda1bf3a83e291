"""The viewer with a video: every frame has the numbers of its latent frame, and plays."""

from __future__ import annotations

from pathlib import Path

import torch
from playwright.sync_api import expect

from concept_attention.concepts import Concept
from concept_attention.heatmaps.heatmaps import make_heatmaps
from concept_attention.recording.file import save_recording
from concept_attention.recording.recording import Recording
from concept_attention.videos import read_video

from ..support.browser.editor import Editor
from ..support.browser.viewer_page import ViewerPage
from ..support.server.client import Client
from ..support.server.graph import Graph

NAME = "video.recording.safetensors"
LATENT_FRAMES, FRAMES = 3, 9  # the first by itself, then groups of four
PLAYED = "() => Number(document.querySelector('.ca-frame').value)"


def record() -> Recording:
    generator = torch.Generator().manual_seed(0)
    grid = (LATENT_FRAMES, 6, 8)
    return Recording(
        scores=2 * torch.randn((2, 2, 1, 3, LATENT_FRAMES * 48), generator=generator),
        norms=torch.ones(2, 2, 1, 3),
        layers=(0, 1),
        layer_count=2,
        default_layers=(0, 1),
        steps=(0, 1),
        sigmas=(1.0, 0.5),
        grid=grid,
        image_size=(96, 128),
        frame_counts=(1, 4, 4),
        architecture="flux",
        mode="flux",
        concepts=tuple(Concept(name, name) for name in ("cat", "dog", "grass")),
    )


def test_a_video_is_looked_into_frame_by_frame_plays_and_is_exported(
    editor: Editor, comfyui: Client, tmp_path: Path
) -> None:
    recording = record()
    save_recording(recording, comfyui.server.base / "input" / NAME)
    graph = Graph()
    loaded = graph.add("ConceptRecordingLoad", file=NAME)
    images = graph.add("EmptyImage", width=128, height=96, batch_size=FRAMES, color=0x808080)
    node = graph.add("ConceptHeatmapViewer", image=images[0], recording=loaded[0])
    editor.load(graph)
    editor.run()
    viewer = ViewerPage(editor, node)
    viewer.wait_until_ready()
    viewer.image.focus()
    editor.page.keyboard.press("ArrowUp")
    expected = make_heatmaps(recording).resized().values[0]  # (C, T, H, W)
    x, y = viewer.pixel()
    for frame, latent in ((0, 0), (1, 1), (4, 1), (5, 2), (8, 2)):
        viewer.find(".ca-frame").fill(str(frame))
        values = list(viewer.values().values())
        assert torch.allclose(torch.tensor(values), expected[:, latent, y, x], atol=1e-3), (frame, values)
    expect(viewer.find(".ca-frames output")).to_have_text(f"frame 9 of {FRAMES}")
    viewer.find(".ca-play").click()
    expect(viewer.find(".ca-play")).to_have_attribute("aria-pressed", "true")
    seen = {editor.page.wait_for_function(f"({PLAYED})() === {frame}").json_value() for frame in (2, 5)}
    assert seen == {True}
    viewer.find(".ca-play").click()
    expect(viewer.find(".ca-play")).to_have_attribute("aria-pressed", "false")
    stopped = editor.page.evaluate(PLAYED)
    editor.page.wait_for_timeout(400)
    assert editor.page.evaluate(PLAYED) == stopped
    editor.screenshot(f"viewer_video_{editor.renderer}")
    viewer.find(".ca-buttons .ca-export").click()
    with editor.page.expect_download() as started:
        viewer.find(".ca-export-mp4-frames").click()
    started.value.save_as(tmp_path / "frames.mp4")
    assert len(read_video(tmp_path / "frames.mp4")[0]) == FRAMES
