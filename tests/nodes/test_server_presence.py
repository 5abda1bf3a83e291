"""Presence in a running ComfyUI: branches, early ends, the best seed, boxes."""

from __future__ import annotations

import pytest
import torch

from ..support.server.client import Client, NodeError
from ..support.server.landscape import Landscape


@pytest.fixture(scope="module")
def start() -> Landscape:
    return Landscape(concepts="boat, house, sun", width=256, height=256)


def test_a_check_takes_a_branch_and_reaches_the_api(comfyui: Client, start: Landscape) -> None:
    sampled = start.sample(start.model, "ConceptAttentionKSampler", concepts=start.encoded[0], steps=8)
    check = start.graph.add("ConceptCheck", recording=sampled[1], wanted="boat")
    other = start.graph.add("EmptyLatentImage", width=64, height=64, batch_size=1)
    branch = start.graph.add("ComfySwitchNode", switch=check[0], on_true=sampled[0], on_false=other[0])
    kept = start.save_latent(branch[0])
    run = comfyui.run(start.graph)
    (found,) = run.outputs[check.number]["concept_presence"]
    assert found["name"] == "boat" and found["present"] == [False] and 0 <= found["scores"][0] < 0.3
    assert comfyui.latent(run, kept).shape[-2:] == (8, 8)  # the other branch
    assert comfyui.text(run, check).startswith("boat: absent")


def test_a_run_that_ends_early_is_no_error_and_the_graph_goes_on(comfyui: Client) -> None:
    start = Landscape(concepts="boat, house", width=256, height=256)
    options = {"concepts": start.encoded[0], "steps": 10, "stop_if_absent": "boat", "stop_after": 0.5}
    sampled = start.sample(start.model, "ConceptAttentionKSampler", **options)
    shown = start.graph.add("PreviewImage", images=start.decode(sampled[0])[0])
    saved = start.save_recording(sampled[1])
    run = comfyui.run(start.graph)
    assert "Stopped after step 5 of 10" in comfyui.text(run, sampled)
    assert len(comfyui.recording(run, saved).steps) == 5 and comfyui.images(run, shown)[0].std() > 10


def test_the_best_seed_s_latent_is_the_stock_sampler_s(comfyui: Client) -> None:
    start = Landscape(concepts="house, sun", width=128, height=128)
    best = start.sample(start.model, "ConceptBestOf", concepts=start.encoded[0], seeds=2, part=0.5, seed=7)
    ours = start.save_latent(best[0])
    run = comfyui.run(start.graph)
    seed = int(comfyui.text(run, best).split()[1])
    stock = Landscape(concepts="house, sun", width=128, height=128)
    plain = stock.save_latent(stock.sample(stock.model, seed=seed)[0])
    assert torch.equal(comfyui.latent(run, ours), comfyui.latent(comfyui.run(stock.graph), plain))


def test_boxes_crop_core_s_images(comfyui: Client) -> None:
    start = Landscape(concepts="house", width=256, height=256)
    sampled = start.sample(start.model, "ConceptAttentionKSampler", concepts=start.encoded[0], steps=10)
    image = start.decode(sampled[0])
    maps = start.graph.add("ConceptHeatmaps", recording=sampled[1])
    start.graph.set(maps, kind="presence")  # `add` has a parameter of that name
    boxes = start.graph.add("ConceptBoxes", heatmaps=maps[0], image=image[0], concepts="house", threshold=0.2)
    shown = start.graph.add("PreviewImage", images=boxes[4])
    masks = start.graph.add("MaskPreview", mask=boxes[3])
    run = comfyui.run(start.graph)
    lines = comfyui.text(run, boxes).splitlines()
    width, height = (int(word) for word in lines[0].removeprefix("house: ").split(" at ")[0].split(" x "))
    crops = comfyui.images(run, shown)
    assert len(crops) == len(comfyui.images(run, masks)) == len(lines) and crops[0].shape == (height, width, 3)


def test_without_null_words_the_check_says_what_to_do(comfyui: Client) -> None:
    start = Landscape(concepts="house")
    start.graph.set(start.encoded, presence=False)
    sampled = start.sample(start.model, "ConceptAttentionKSampler", concepts=start.encoded[0])
    check = start.graph.add("ConceptCheck", recording=sampled[1])
    start.graph.add("PreviewAny", source=check[3])
    with pytest.raises(NodeError, match="made without null words"):
        comfyui.run(start.graph)
