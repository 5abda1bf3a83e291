"""Save Pictures with Masks in a running ComfyUI."""

from __future__ import annotations

import numpy as np
from PIL import Image

from ..support.server.client import Client
from ..support.server.landscape import Landscape


def test_a_graph_fills_a_training_set(comfyui: Client) -> None:
    start = Landscape(batch=2, concepts="sky")
    start.graph.set(start.encoded, background="house, grass, sun")
    sampler = start.sample(start.patch()[0], seed=3, steps=6)
    image = start.decode(sampler[0])
    recording = start.graph.add("ConceptAttentionCollect", latent=sampler[0])
    heatmaps = start.graph.add("ConceptHeatmaps", recording=recording[0])
    inputs = {"caption": "a house", "format": "kohya", "folder": "sets/houses", "method": "mean"}
    saved = start.graph.add("ConceptDatasetSave", image=image[0], heatmaps=heatmaps[0], **inputs)
    run = comfyui.run(start.graph)
    assert "Added 2 pictures to sets/houses" in comfyui.text(run, saved)
    start.graph.set(sampler, seed=4)
    run = comfyui.run(start.graph)
    assert "which has 4 now" in comfyui.text(run, saved)
    folder = comfyui.server.base / "output" / "sets" / "houses"
    pictures = sorted(file.stem for file in (folder / "images").glob("*.png"))
    assert pictures == ["00000_000", "00000_001", "00001_000", "00001_001"]
    for name in pictures:
        mask = np.asarray(Image.open(folder / "masks" / f"{name}.png"))
        assert mask.shape == (128, 128) and 0 < (mask > 127).mean() < 1
    assert (folder / "dataset.toml").is_file() and (folder / "sheet.jpg").is_file()
    (sheet,) = comfyui.images(run, saved)
    assert sheet.ndim == 3
