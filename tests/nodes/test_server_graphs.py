"""Whole graphs through a running ComfyUI's API, with the landscape model."""

from __future__ import annotations

from io import BytesIO
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from concept_attention.tiny.world.contents import LABELS
from concept_attention.tiny.world.scenes import draw_scene

from ..support.server.client import Client
from ..support.server.graph import Graph, Node
from ..support.server.landscape import CONCEPTS, Landscape

NAMES = CONCEPTS.split(", ")


def add_mask(graph: Graph, recording: list[Any], name: str, **inputs: Any) -> Node:
    """Recording to a mask of one concept, saved as a picture."""
    heatmaps = graph.add("ConceptHeatmaps", recording=recording)
    mask = graph.add("ConceptHeatmapToMask", heatmaps=heatmaps[0], concepts=name, **inputs)
    picture = graph.add("MaskToImage", mask=mask[0])
    return graph.add("SaveImage", images=picture[0], filename_prefix=f"mask_{name}")


def test_a_text_becomes_a_picture_its_heatmaps_and_a_mask_that_finds_the_object(comfyui: Client) -> None:
    start = Landscape(width=256, height=256)
    sampler = start.sample(start.patch()[0], steps=8)
    picture = start.graph.add("PreviewImage", images=start.decode(sampler[0])[0])
    recording = start.graph.add("ConceptAttentionCollect", latent=sampler[0])
    masks = {name: add_mask(start.graph, recording[0], name, method="argmax") for name in NAMES}
    run = comfyui.run(start.graph)
    (image,) = comfyui.images(run, picture)
    found = {name: comfyui.images(run, node)[0] for name, node in masks.items()}
    assert image.shape == (256, 256, 3) and image.std() > 20  # something was drawn
    assert {mask.shape for mask in found.values()} == {image.shape}
    assert set(np.unique(np.stack(list(found.values())))) == {0, 255}
    assert bool((sum(mask // 255 for mask in found.values()) == 1).all())  # every place is somebody's
    rows = np.arange(256)[:, None, None]
    middle = {name: float((rows * mask).sum() / mask.sum()) for name, mask in found.items()}
    assert middle["sky"] < 128 < middle["grass"], middle
    assert image[found["sky"] > 0].mean() != pytest.approx(image[found["grass"] > 0].mean(), abs=5)


@pytest.mark.parametrize("sampler", ["euler", "dpmpp_2m", "heun"])
def test_the_sampler_node_and_the_patched_model_give_the_latent_of_stock_ksampler(
    comfyui: Client, sampler: str
) -> None:
    """Bit for bit, with a negative prompt and a soft noise mask."""
    start = Landscape(width=128, height=96, batch=2)
    mask = start.graph.add("SolidMask", value=0.4, width=128, height=96)
    latent = start.graph.add("SetLatentNoiseMask", samples=start.empty[0], mask=mask[0])
    options = {"sampler_name": sampler, "cfg": 3.0, "latent": latent[0]}
    stock = start.sample(start.model, **options)
    patched = start.sample(start.patch()[0], **options)
    ours = start.sample(start.model, "ConceptAttentionKSampler", concepts=start.encoded[0], **options)
    saved = [start.save_latent(node[0]) for node in (stock, patched, ours)]
    collected = start.graph.add("ConceptAttentionCollect", latent=patched[0])
    recorded = [start.save_recording(socket) for socket in (collected[0], ours[1])]
    run = comfyui.run(start.graph)
    latents = [comfyui.latent(run, node) for node in saved]
    assert bool(latents[0].isfinite().all()) and float(latents[0].std()) > 0.1
    assert torch.equal(latents[0], latents[1]) and torch.equal(latents[0], latents[2])
    first, second = (comfyui.recording(run, node) for node in recorded)
    assert len(first.steps) == 4 and first.batch == 2
    assert torch.equal(first.scores, second.scores)


def test_custom_sampling_gives_both_latents_of_core_and_a_recording_of_each(comfyui: Client) -> None:
    start = Landscape()
    add = start.graph.add
    patched = start.patch()
    parts = {
        "noise": add("RandomNoise", noise_seed=5)[0],
        "sampler": add("KSamplerSelect", sampler_name="euler_ancestral")[0],
        "sigmas": add("BasicScheduler", model=start.model, scheduler="simple", steps=4, denoise=1.0)[0],
        "latent_image": start.empty[0],
    }
    guider = add("BasicGuider", model=start.model, conditioning=start.positive[0])
    recording_guider = add("BasicGuider", model=patched[0], conditioning=start.positive[0])
    stock = add("SamplerCustomAdvanced", guider=guider[0], **parts)
    stock_patched = add("SamplerCustomAdvanced", guider=recording_guider[0], **parts)
    ours = add("ConceptAttentionSamplerCustom", guider=guider[0], concepts=start.encoded[0], **parts)
    nodes = (stock, stock_patched, ours)
    saved = [[start.save_latent(node[output]) for node in nodes] for output in (0, 1)]
    collected = [add("ConceptAttentionCollect", latent=stock_patched[output])[0] for output in (0, 1)]
    recorded = [start.save_recording(socket) for socket in (*collected, ours[2])]
    run = comfyui.run(start.graph)
    for same in saved:
        latents = [comfyui.latent(run, node) for node in same]
        assert torch.equal(latents[0], latents[1]) and torch.equal(latents[0], latents[2])
    scores = [comfyui.recording(run, node).scores for node in recorded]
    assert torch.equal(scores[0], scores[1]) and torch.equal(scores[0], scores[2])


def test_concepts_are_found_in_a_picture_from_a_file(comfyui: Client) -> None:
    """The concepts of a drawing whose regions are known, without sampling."""
    scene = draw_scene(3, 256, 256)
    Image.fromarray(scene.image).save(comfyui.server.base / "input" / "scene.png")
    start = Landscape(concepts=", ".join(scene.words))
    picture = start.graph.add("LoadImage", image="scene.png")
    latent = start.graph.add("VAEEncode", pixels=picture[0], vae=start.vae)
    recording = start.graph.add(
        "ConceptAttentionEncodeImage",
        model=start.model,
        concepts=start.encoded[0],
        latent=latent[0],
        noise=0.5,
        samples=2,
        seed=0,
    )
    masks = {name: add_mask(start.graph, recording[0], name, method="argmax") for name in scene.words}
    run = comfyui.run(start.graph)
    right = np.zeros((256, 256), bool)
    for name, node in masks.items():
        right |= (comfyui.images(run, node)[0][..., 0] > 0) & (scene.labels == LABELS.index(name))
    assert right.mean() > 0.8


def test_a_recording_saved_and_loaded_makes_the_same_pictures(comfyui: Client) -> None:
    start = Landscape()
    sampler = start.sample(start.model, "ConceptAttentionKSampler", concepts=start.encoded[0])
    saved = start.save_recording(sampler[1])
    picture = start.decode(sampler[0])
    shown = show(start.graph, picture[0], sampler[1])
    run = comfyui.run(start.graph)
    name = comfyui.text(run, saved).removeprefix("Saved as ")
    loaded = start.graph.add("ConceptRecordingLoad", file=name)
    again = show(start.graph, picture[0], loaded[0])
    run = comfyui.run(start.graph)
    for first, second in zip(shown, again, strict=True):
        assert comfyui.files(run, first) and np.array_equal(
            np.stack(comfyui.images(run, first)), np.stack(comfyui.images(run, second))
        )
    assert [len(comfyui.images(run, node)) for node in shown] == [len(NAMES), 1, 1, 1]


def show(graph: Graph, picture: list[Any], recording: list[Any]) -> list[Node]:
    """Every way of drawing a recording, as previews."""
    heatmaps = graph.add("ConceptHeatmaps", recording=recording)
    drawn = [
        graph.add("ConceptHeatmapOverlay", image=picture, heatmaps=heatmaps[0], layout=layout)
        for layout in ("one per concept", "grid", "segmentation")
    ]
    drawn.append(graph.add("ConceptHeatmapPlot", recording=recording, concept="sun"))
    return [graph.add("PreviewImage", images=node[0]) for node in drawn]


def test_nodes_report_what_they_did(comfyui: Client) -> None:
    start = Landscape(concepts="house, the sun: sun in the sky")
    sampler = start.sample(start.patch()[0])
    collected = start.graph.add("ConceptAttentionCollect", latent=sampler[0])
    saved = start.save_recording(collected[0])
    run = comfyui.run(start.graph)
    encoded = comfyui.text(run, start.encoded).splitlines()
    assert encoded[:2] == ["house: 1 token", "the sun: 4 tokens, mean of all"]
    assert encoded[2].startswith("No background: ")
    assert comfyui.text(run, saved).startswith("Saved as test_0")
    assert comfyui.text(run, collected).splitlines()[:2] == [
        "4 of 4 steps recorded, layers 0-3 of 4, 2 concepts",
        "1 image of 8 x 8 tokens, 12 KiB",
    ]


def test_a_saved_picture_can_be_looked_at(comfyui: Client) -> None:
    """The client's own way of fetching files, with a node of core alone."""
    graph = Graph()
    picture = graph.add("EmptyImage", width=16, height=8, batch_size=2, color=0x102030)
    saved = graph.add("SaveImage", images=picture[0], filename_prefix="plain")
    run = comfyui.run(graph)
    first, _ = comfyui.files(run, saved)
    assert Image.open(BytesIO(first)).getpixel((0, 0)) == (0x10, 0x20, 0x30)
