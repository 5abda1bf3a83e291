"""A model with cross-attention in a running ComfyUI: the same nodes, another reading."""

from __future__ import annotations

import json
from collections.abc import Iterator

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from concept_attention.heatmaps.heatmaps import make_heatmaps

from ..support.comfyui.cross_attention.catalogue import VARIANTS
from ..support.comfyui.tiny import fill
from ..support.server.client import Client
from ..support.server.graph import Graph
from ..support.server.landscape import Landscape

NAME = "tiny_wan.safetensors"
TEXT_WIDTH = 128  # of the landscape model's T5
SIZES = {"dim": 128, "num_heads": 1, "freq_dim": 256, "text_dim": TEXT_WIDTH}


@pytest.fixture(scope="module")
def wan(comfyui: Client) -> Iterator[str]:
    """A tiny Wan among the server's diffusion models, which takes the landscape model's text encoder."""
    tiny = next(one for one in VARIANTS if one.architecture == "wan")
    network = tiny.build().diffusion_model.__class__(**{**tiny.config, **SIZES}, operations=torch.nn)
    fill(network)
    file = comfyui.server.base / "models" / "diffusion_models" / NAME
    file.parent.mkdir(exist_ok=True)
    config = json.dumps({"transformer": {"text_dim": TEXT_WIDTH}})
    save_file(network.state_dict(), file, metadata={"config": config})
    yield NAME
    file.unlink()


def test_a_video_is_recorded_by_its_cross_attention(comfyui: Client, wan: str) -> None:
    start = Landscape()
    model = start.graph.add("UNETLoader", unet_name=wan, weight_dtype="default")
    empty = start.graph.add("EmptyHunyuanLatentVideo", width=96, height=64, length=9, batch_size=1)
    settings = {"model": model[0], "concepts": start.encoded[0]}
    patched = start.graph.add("ConceptAttentionPatchModel", **settings)
    similar = start.graph.add("ConceptAttentionPatchModel", **settings, mode="gram")
    samplers = [start.sample(one[0], latent=empty[0], steps=2) for one in (model, patched, similar)]
    plain, observed, other = (start.save_latent(sampler[0]) for sampler in samplers)
    collected = [
        start.graph.add("ConceptAttentionCollect", latent=samplers[n][0], model=p[0])
        for n, p in ((1, patched), (2, similar))
    ]
    saved = [start.save_recording(one[0]) for one in collected]
    heatmaps = start.graph.add("ConceptHeatmaps", recording=collected[0][0])
    mask = start.graph.add("ConceptHeatmapToMask", heatmaps=heatmaps[0], concepts="house", method="argmax")
    start.graph.add("MaskPreview", mask=mask[0])
    run = comfyui.run(start.graph)

    assert torch.equal(comfyui.latent(run, plain), comfyui.latent(run, observed))
    assert torch.equal(comfyui.latent(run, plain), comfyui.latent(run, other))
    cross, gram = (comfyui.recording(run, one) for one in saved)
    assert (cross.reading, gram.reading) == ("cross", "gram")
    assert cross.grid == gram.grid == (3, 4, 6) and cross.frame_counts == (1, 4, 4)
    assert cross.metadata["pooling"] == "mean of the attention to all tokens"
    assert "reading: cross-attention" in comfyui.text(run, collected[0])
    assert "reading: similarity to the best-fitting token" in comfyui.text(run, collected[1])
    assert "mode cross" in comfyui.text(run, heatmaps)
    shares = make_heatmaps(cross).values
    torch.testing.assert_close(shares.sum(1), torch.ones_like(shares[:, 0]))


def test_the_model_that_nobody_taught_is_sampled_by_stock_nodes_and_recorded(comfyui: Client) -> None:
    graph = Graph()
    add = graph.add
    model = add("ConceptAttentionTinyModel", model="tiny-sd")
    prompts = [add("CLIPTextEncode", clip=model[1], text=text) for text in ("a sun in the sky over grass", "")]
    patched = add("ConceptAttentionPatchModel", model=model[0], clip=model[1], words="sun", background="sky, grass")
    empty = add("EmptyLatentImage", width=128, height=128, batch_size=1)
    options = {"seed": 1, "steps": 12, "cfg": 3.0, "sampler_name": "euler", "scheduler": "normal", "denoise": 1.0}
    samplers = [
        add("KSampler", model=way[0], positive=prompts[0][0], negative=prompts[1][0], latent_image=empty[0], **options)
        for way in (patched, model)
    ]
    shown = [add("PreviewImage", images=add("VAEDecode", samples=one[0], vae=model[2])[0]) for one in samplers]
    collected = add("ConceptAttentionCollect", latent=samplers[0][0])
    saved = add("ConceptRecordingSave", recording=collected[0], filename_prefix="test")
    run = comfyui.run(graph)
    recorded, plain = (np.stack(comfyui.images(run, one)) for one in shown)
    assert np.array_equal(recorded, plain)
    above, below = recorded[0, :32].mean((0, 1)), recorded[0, -32:].mean((0, 1))
    assert above[2] > above[1] and below[1] > below[2]  # blue above, green below
    recording = comfyui.recording(run, saved)
    assert recording.reading == "cross" and recording.grid == (1, 8, 8) and len(recording.steps) == 12
    assert recording.image_size == (128, 128) and recording.default_layers == (0, 1)
