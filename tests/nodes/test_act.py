"""Nodes that act where a concept is, with core's KSampler and this pack's samplers."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import folder_paths
import nodes
import pytest
import torch
from comfy_execution.graph_utils import ExecutionBlocker
from safetensors.torch import save_file

from ..hosts.comfyui.acting.test_lora import make_lora
from .conftest import Pack, sampler_inputs

Landscape = tuple[Any, Any, Any]
SEED = 77  # of no other test: one latent has one recording


def prompt(landscape: Landscape, text: str) -> Any:
    with torch.inference_mode():
        return nodes.CLIPTextEncode().encode(landscape[1], text)[0]


@pytest.fixture
def acted(pack: Pack, landscape: Landscape, concepts: Any) -> Any:
    """Runs a region for the sky, whose prompt is another one, with core's KSampler: its inputs and latent."""

    def run(**options: Any) -> tuple[dict[str, Any], dict[str, Any]]:
        inputs = sampler_inputs(landscape, seed=SEED)
        model, positive = pack.run(
            "ConceptRegion",
            model=landscape[0],
            conditioning=inputs["positive"],
            regional=prompt(landscape, "a house on grass under the night sky"),
            concepts=concepts,
            concept="sky",
            start=0.0,
            **options,
        ).args
        with torch.inference_mode():
            (latent,) = nodes.KSampler().sample(**{**inputs, "model": model, "positive": positive})
        return inputs, latent

    return run


def test_the_rest_is_kept_and_the_mask_and_the_unchanged_latent_come_out(pack: Pack, acted: Any) -> None:
    inputs, latent = acted(way="keep the rest", shape="hard")
    with torch.inference_mode():
        (plain,) = nodes.KSampler().sample(**inputs)
    output = pack.run("ConceptRegionMask", latent=latent)
    mask, unchanged = output.args
    assert mask.shape == (1, *(8 * side for side in latent["samples"].shape[-2:])) and 0 < mask.mean() < 1
    assert torch.equal(unchanged["samples"], plain["samples"])
    outside = pack.run("ConceptAttentionCollect", latent=latent)[0].region_masks[0, 0, 0] == 0
    assert outside.any() and torch.equal(latent["samples"][0][:, outside], plain["samples"][0][:, outside])
    assert not torch.equal(latent["samples"], plain["samples"])
    assert pack.text(output).startswith("sky: ")


def test_a_blended_region_has_no_unchanged_latent_and_says_why(pack: Pack, acted: Any) -> None:
    _, latent = acted()
    blocked = pack.run("ConceptRegionMask", latent=latent, region="sky")[1]
    assert isinstance(blocked, ExecutionBlocker) and "way: keep the rest" in blocked.message
    with pytest.raises(ValueError, match='There is no region "sun". The regions are sky.'):
        pack.run("ConceptRegionMask", latent=latent, region="sun")


def test_the_recording_of_such_a_run_names_its_regions(pack: Pack, acted: Any) -> None:
    _, latent = acted()
    recording = pack.run("ConceptAttentionCollect", latent=latent)[0]
    assert recording.regions == ("sky",) and recording.region_masks.shape == (1, 1, 1, *latent["samples"].shape[-2:])
    assert recording.metadata["regions"] == "sky: blend, start 0, freeze 0.8, strength 1"


def test_this_pack_s_sampler_records_and_acts(pack: Pack, landscape: Landscape, concepts: Any) -> None:
    inputs = sampler_inputs(landscape, seed=SEED + 1)
    regional = prompt(landscape, "a house on grass under the night sky")
    model, positive = pack.run(
        "ConceptRegion",
        model=landscape[0],
        conditioning=inputs["positive"],
        regional=regional,
        concepts=concepts,
        concept="sky",
        start=0.0,
    ).args
    acting = {**inputs, "model": model, "positive": positive}
    latent, recording = pack.run("ConceptAttentionKSampler", **acting, concepts=concepts).args
    with torch.inference_mode():
        (core,) = nodes.KSampler().sample(**acting)
    assert torch.equal(latent["samples"], core["samples"]) and len(recording.steps) == 4
    assert recording.regions == ("sky",)
    other = pack.run("ConceptEncode", clip=landscape[1], concepts="sun", background="sky")[0]
    with pytest.raises(ValueError, match="One run has one list of concepts"):
        pack.run("ConceptAttentionKSampler", **acting, concepts=other)


@pytest.fixture
def lora_file(landscape: Landscape, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A random LoRA of the landscape model among the LoRAs that ComfyUI finds."""
    save_file(make_lora(landscape[0]), tmp_path / "style.safetensors")
    monkeypatch.setitem(folder_paths.folder_names_and_paths, "loras", ([str(tmp_path)], {".safetensors"}))
    folder_paths.filename_list_cache.pop("loras", None)
    return "style.safetensors"


def test_a_lora_file_acts_where_the_concept_is(pack: Pack, landscape: Landscape, concepts: Any, lora_file: str) -> None:
    inputs = sampler_inputs(landscape, seed=SEED)
    model = pack.run(
        "ConceptLora",
        model=landscape[0],
        lora=lora_file,
        lora_strength=0.5,
        concepts=concepts,
        concept="sky",
        start=0.0,
    )[0]
    with torch.inference_mode():
        (plain,) = nodes.KSampler().sample(**inputs)
        (latent,) = nodes.KSampler().sample(**{**inputs, "model": model})
    assert not torch.equal(latent["samples"], plain["samples"])
    assert pack.text(pack.run("ConceptRegionMask", latent=latent)).startswith("style.safetensors: sky: ")


@pytest.mark.parametrize("scales", ["cfg", "controlnet"])
def test_a_strength_acts_where_the_concept_is(pack: Pack, landscape: Landscape, concepts: Any, scales: str) -> None:
    inputs = sampler_inputs(landscape, cfg=3.0, seed=SEED, negative=prompt(landscape, ""))
    model = pack.run(
        "ConceptStrength", model=landscape[0], concepts=concepts, scales=scales, factor=2.0, concept="sky", start=0.0
    )[0]
    with torch.inference_mode():
        (plain,) = nodes.KSampler().sample(**inputs)
        (latent,) = nodes.KSampler().sample(**{**inputs, "model": model})
    assert torch.equal(latent["samples"], plain["samples"]) == (scales == "controlnet")  # there is no ControlNet


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"concept": "boat"}, 'There is no concept "boat"'),
        ({"concept": "house, sun, sky, grass"}, "shows only in comparison with something else"),
        ({"start": 2.0}, "start must lie in 0 to 1, got 2.0"),
    ],
)
def test_bad_places_are_refused_before_anything_is_sampled(
    pack: Pack, landscape: Landscape, concepts: Any, options: dict[str, Any], words: str
) -> None:
    with pytest.raises(ValueError, match=words):
        pack.run("ConceptStrength", model=landscape[0], concepts=concepts, scales="cfg", factor=2.0, **options)
