"""Regions in a running ComfyUI: they are cached as other nodes, and stay within their run."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from concept_attention.hosts.comfyui.acting.place import START
from concept_attention.tiny.comfyui.loader import load_model

from ..hosts.comfyui.acting.test_lora import make_lora
from ..support.server.client import Client, NodeError
from ..support.server.graph import Node
from ..support.server.landscape import Landscape

STEPS = 8


def with_region(start: Landscape, **inputs: Any) -> tuple[Node, Node]:
    """A region for the sky, which becomes dark, and the stock KSampler."""
    regional = start.graph.add("CLIPTextEncode", clip=start.clip, text="a house on grass under the night sky")
    region = start.graph.add(
        "ConceptRegion",
        model=start.model,
        conditioning=start.positive[0],
        regional=regional[0],
        concepts=start.encoded[0],
        concept="sky",
        **inputs,
    )
    return region, start.sample(region[0], positive=region[1], steps=STEPS, cfg=3.0)


def test_a_region_changes_its_place_and_the_next_prompt_without_it_is_the_plain_run(comfyui: Client) -> None:
    start = Landscape()
    plain = start.save_latent(start.sample(start.model, steps=STEPS, cfg=3.0)[0])
    before = comfyui.latent(comfyui.run(start.graph), plain)
    _, sampler = with_region(start, way="keep the rest", shape="hard")
    found = start.graph.add("ConceptRegionMask", latent=sampler[0], region="sky")
    shown = start.graph.add("MaskPreview", mask=found[0])
    changed, unchanged = start.save_latent(sampler[0]), start.save_latent(found[1])
    run = comfyui.run(start.graph)
    assert torch.equal(comfyui.latent(run, unchanged), before)
    after = comfyui.latent(run, changed)
    mask = comfyui.images(run, shown)[0][..., 0] > 0
    untouched = torch.from_numpy(~mask.reshape(16, 8, 16, 8).any(axis=(1, 3)))
    assert untouched.any() and torch.equal(after[..., untouched], before[..., untouched])
    assert not torch.equal(after, before) and comfyui.text(run, found).startswith("sky: ")
    again = Landscape()
    saved = again.save_latent(again.sample(again.model, steps=STEPS, cfg=3.0, seed=1)[0])
    comfyui.free_memory()
    assert torch.equal(comfyui.latent(comfyui.run(again.graph), saved), before)


def test_any_sampler_of_core_takes_a_region(comfyui: Client) -> None:
    start = Landscape()
    region, sampler = with_region(start)
    add = start.graph.add
    guider = add("CFGGuider", model=region[0], positive=region[1], negative=start.negative[0], cfg=3.0)
    custom = add(
        "SamplerCustomAdvanced",
        noise=add("RandomNoise", noise_seed=1)[0],
        guider=guider[0],
        sampler=add("KSamplerSelect", sampler_name="euler")[0],
        sigmas=add("BasicScheduler", model=region[0], scheduler="simple", steps=STEPS, denoise=1.0)[0],
        latent_image=start.empty[0],
    )
    first, second = start.save_latent(sampler[0]), start.save_latent(custom[0])
    run = comfyui.run(start.graph)
    assert torch.equal(comfyui.latent(run, first), comfyui.latent(run, second))


def test_errors_name_what_to_connect(comfyui: Client) -> None:
    start = Landscape(concepts="house")
    start.save_latent(with_region(start)[1][0])
    with pytest.raises(NodeError, match='There is no concept "sky"'):
        comfyui.run(start.graph)


def test_a_sampler_without_the_region_s_model_says_what_to_connect(comfyui: Client) -> None:
    start = Landscape()
    region, sampler = with_region(start)
    start.graph.set(sampler, model=start.model)
    start.save_latent(sampler[0])
    with pytest.raises(NodeError, match="^KSampler: The CONDITIONING has a region, sky, .* Connect the MODEL of"):
        comfyui.run(start.graph)
    start.graph.set(sampler, model=region[0])
    comfyui.run(start.graph)


def test_a_lora_and_a_strength_act_in_one_run(comfyui: Client) -> None:
    file = comfyui.server.base / "models" / "loras" / "style.safetensors"
    file.parent.mkdir(exist_ok=True)
    save_file(make_lora(load_model()), file)
    start = Landscape()
    place = {"concepts": start.encoded[0], "concept": "sky", "start": START}
    lora = start.graph.add("ConceptLora", model=start.model, lora=file.name, lora_strength=0.05, **place)
    strength = start.graph.add("ConceptStrength", model=lora[0], scales="cfg", factor=2.0, **place)
    sampler = start.sample(strength[0], steps=STEPS, cfg=3.0)
    mask = start.graph.add("ConceptRegionMask", latent=sampler[0])
    shown = start.graph.add("MaskPreview", mask=mask[0])
    run = comfyui.run(start.graph)
    assert comfyui.text(run, mask).startswith("style.safetensors: sky + cfg: sky: ")
    assert 0 < np.mean(comfyui.images(run, shown)[0]) < 255
    file.unlink()
