"""The viewer node in a running ComfyUI: outputs, files for the browser, caching and cleanup."""

from __future__ import annotations

from io import BytesIO
from typing import Any

import numpy as np
import pytest
import requests
from PIL import Image

from concept_attention.heatmaps.heatmaps import make_heatmaps

from ..support.server.client import Client, NodeError, Run
from ..support.server.graph import Graph, Node
from ..support.server.landscape import Landscape


def recorded(batch: int = 1, **inputs: Any) -> tuple[Landscape, list[Any], list[Any]]:
    """A graph that samples; its IMAGE and its recording."""
    start = Landscape(batch=batch)
    sampler = start.sample(start.model, "ConceptAttentionKSampler", concepts=start.encoded[0], **inputs)
    return start, start.decode(sampler[0])[0], sampler[1]


def preview(graph: Graph, mask: list[Any]) -> Node:
    return graph.add("MaskPreview", mask=mask)


def manifest_of(run: Run, viewer: Node) -> dict[str, Any]:
    (manifest,) = run.outputs[viewer.number]["concept_viewer"]
    return dict(manifest)


def values_of(comfyui: Client, entry: dict[str, Any]) -> np.ndarray:
    """What a browser makes of a picture's file of values."""
    raw = np.frombuffer(comfyui.get("/view", **entry["values"]), "<u2").reshape(entry["shape"])
    return np.asarray(entry["offset"] + entry["scale"] * raw.astype(np.float64))


def test_outputs_are_those_of_the_nodes_it_stands_for(comfyui: Client) -> None:
    start, image, recording = recorded(batch=2)
    add = start.graph.add
    chosen = {"layers": "1-2", "steps": "1,-1"}
    cut = {"concepts": "sun, house", "method": "threshold", "threshold": 0.4}
    viewer = add("ConceptHeatmapViewer", image=image, recording=recording, **chosen, **cut)
    heatmaps = add("ConceptHeatmaps", recording=recording, **chosen)
    mask = add("ConceptHeatmapToMask", heatmaps=heatmaps[0], **cut)
    again = add("ConceptHeatmapToMask", heatmaps=viewer[1], **cut)
    masks = [preview(start.graph, output) for output in (viewer[2], mask[0], again[0])]
    images = [add("PreviewImage", images=output) for output in (viewer[0], image)]
    run = comfyui.run(start.graph)
    found = [np.stack(comfyui.images(run, node)) for node in masks]
    assert 0.02 < found[0].mean() / 255 < 0.98 and len(found[0]) == 2
    assert np.array_equal(found[0], found[1]) and np.array_equal(found[0], found[2])
    shown = [np.stack(comfyui.images(run, node)) for node in images]
    assert np.array_equal(*shown)


def test_a_browser_gets_the_pictures_and_every_number(comfyui: Client) -> None:
    start, image, recording = recorded(batch=2)
    viewer = start.graph.add("ConceptHeatmapViewer", image=image, recording=recording)
    saved = start.save_recording(recording)
    shown = start.graph.add("PreviewImage", images=image)
    run = comfyui.run(start.graph)
    manifest = manifest_of(run, viewer)
    assert (manifest["kind"], manifest["average"]) == ("share", "values")
    result = comfyui.recording(run, saved)
    for index, entry in enumerate(manifest["pictures"]):
        values = values_of(comfyui, entry)
        expected = make_heatmaps(result, "1-2", "0,3").values[index].numpy()
        np.testing.assert_allclose(values[[0, 3]][:, 1:3].mean(axis=(0, 1))[:, 0], expected, rtol=0, atol=1e-5)
        (frame,) = entry["frames"]
        place = {key: frame[key] for key in ("filename", "subfolder", "type")}
        picture = np.asarray(Image.open(BytesIO(comfyui.get("/view", **place))))
        difference = picture.astype(int) - comfyui.images(run, shown)[index]
        assert set(np.unique(difference)) <= {0, 1}  # core rounds down, which is a little dark
    assert "images" not in run.outputs[viewer.number]  # the front end would draw them below the node


def test_an_unchanged_viewer_is_not_run_again_and_a_pick_runs_nothing_else(comfyui: Client) -> None:
    start, image, recording = recorded()
    viewer = start.graph.add("ConceptHeatmapViewer", image=image, recording=recording)
    shown = preview(start.graph, viewer[2])
    first = comfyui.run(start.graph)
    again = comfyui.run(start.graph)
    assert viewer.number in again.cached and manifest_of(again, viewer) == manifest_of(first, viewer)
    start.graph.set(viewer, concepts="sky", method="argmax")
    picked = comfyui.run(start.graph)
    assert viewer.number not in picked.cached and image[0] in picked.cached
    assert manifest_of(picked, viewer)["pictures"] == manifest_of(first, viewer)["pictures"]
    assert not np.array_equal(comfyui.images(picked, shown)[0], comfyui.images(first, shown)[0])


def test_files_that_are_gone_are_written_again_by_the_next_run(comfyui: Client) -> None:
    start, image, recording = recorded()
    viewer = start.graph.add("ConceptHeatmapViewer", image=image, recording=recording)
    manifest = manifest_of(comfyui.run(start.graph), viewer)
    (comfyui.server.base / "temp" / "concept_attention" / manifest["pictures"][0]["values"]["filename"]).unlink()
    run = comfyui.run(start.graph)
    assert viewer.number not in run.cached and image[0] in run.cached
    assert manifest_of(run, viewer) == manifest and values_of(comfyui, manifest["pictures"][0]).any()


def test_heatmaps_can_be_looked_at_without_their_recording(comfyui: Client) -> None:
    start, image, recording = recorded()
    heatmaps = start.graph.add("ConceptHeatmaps", recording=recording)
    start.graph.set(heatmaps, kind="score")
    viewer = start.graph.add("ConceptHeatmapViewer", image=image, heatmaps=heatmaps[0], method="otsu")
    manifest = manifest_of(comfyui.run(start.graph), viewer)
    assert manifest["kind"] == "score" and manifest["pictures"][0]["shape"] == [1, 1, 4, 1, 8, 8]
    assert np.ptp(values_of(comfyui, manifest["pictures"][0])) > 1


@pytest.mark.parametrize(
    ("inputs", "words"),
    [
        ((), "Nothing to show is connected"),
        (("recording", "heatmaps"), "Connect one of them, not both"),
    ],
)
def test_what_to_look_at_must_be_connected(comfyui: Client, inputs: tuple[str, ...], words: str) -> None:
    start, image, recording = recorded()
    heatmaps = start.graph.add("ConceptHeatmaps", recording=recording)
    given = {"recording": recording, "heatmaps": heatmaps[0]}
    start.graph.add("ConceptHeatmapViewer", image=image, **{name: given[name] for name in inputs})
    with pytest.raises(NodeError, match=f"^ConceptHeatmapViewer: .*{words}"):
        comfyui.run(start.graph)


def test_the_server_makes_animations_of_a_browser_s_drawings(comfyui: Client) -> None:
    files = []
    for level in (0, 128, 255):
        file = BytesIO()
        Image.new("RGB", (24, 16), (level, level, level)).save(file, "PNG")
        files.append(("frame", (f"{level}.png", file.getvalue(), "image/png")))
    address = f"http://127.0.0.1:{comfyui.server.port}/api/concept_attention/animation"
    answer = requests.post(address, {"format": "gif", "milliseconds": "100"}, files=files, timeout=60)
    assert (answer.status_code, answer.headers["Content-Type"]) == (200, "image/gif")
    with Image.open(BytesIO(answer.content)) as moving:
        assert (moving.n_frames, moving.info["duration"]) == (3, 100)  # type: ignore[attr-defined]
    refused = requests.post(address, {"format": "avi", "milliseconds": "100"}, files=files, timeout=60)
    assert refused.status_code == 400 and "gif, webp, mp4" in refused.text
