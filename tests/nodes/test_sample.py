"""The recording samplers: core's latents and a recording."""

from __future__ import annotations

from typing import Any

import nodes
import pytest
import torch
from comfy.patcher_extension import WrappersMP
from comfy_execution.graph_utils import ExecutionBlocker
from comfy_extras.nodes_custom_sampler import (
    BasicGuider,
    BasicScheduler,
    KSamplerSelect,
    RandomNoise,
    SamplerCustomAdvanced,
)

from .conftest import Pack, sampler_inputs

Landscape = tuple[Any, Any, Any]


def test_ksampler_gives_core_s_latent_and_a_recording(pack: Pack, landscape: Landscape, sampled: Any) -> None:
    with torch.inference_mode():
        (plain,) = nodes.KSampler().sample(**sampler_inputs(landscape, 2))
    assert torch.equal(sampled[0]["samples"], plain["samples"])
    recording = sampled[1]
    assert recording.batch == 2 and recording.grid == (1, 4, 6) and recording.image_size == (64, 96)
    assert [concept.name for concept in recording.concepts] == ["house", "sun", "sky", "grass"]
    assert pack.text(sampled).splitlines()[:2] == [
        "4 of 4 steps recorded, layers 0-3 of 4, 4 concepts",
        "2 images of 6 x 4 tokens, 18 KiB",
    ]


def test_the_running_mean_makes_the_same_heatmaps(
    pack: Pack, landscape: Landscape, concepts: Any, sampled: Any, heatmaps: Any
) -> None:
    inputs = sampler_inputs(landscape, 2)
    output = pack.run("ConceptAttentionKSampler", **inputs, concepts=concepts, keep="running mean")
    assert torch.equal(output[0]["samples"], sampled[0]["samples"])
    assert pack.text(output).splitlines()[:2] == [
        "4 of 4 steps recorded as their mean, layers 0-3 of 4, 4 concepts",
        "2 images of 6 x 4 tokens, 5 KiB",
    ]
    made = pack.run("ConceptHeatmaps", recording=output[1], layers="all")
    assert float((made[0].values - heatmaps.values).abs().max()) < 1e-6
    assert pack.text(made).splitlines()[0] == "layers 0-3 of 4, mean of all recorded steps"
    with pytest.raises(ValueError, match="only the mean of its shares in mode flux.*; steps 0-1 cannot"):
        pack.run("ConceptHeatmaps", recording=output[1], steps="0-1")


def custom(landscape: Landscape, seed: int = 5) -> dict[str, Any]:
    inputs = sampler_inputs(landscape)
    return {
        "noise": RandomNoise.execute(seed)[0],
        "guider": BasicGuider.execute(landscape[0], inputs["positive"])[0],
        "sampler": KSamplerSelect.execute("heun")[0],
        "sigmas": BasicScheduler.execute(landscape[0], "simple", 3, 1.0)[0],
        "latent_image": inputs["latent_image"],
    }


def test_the_custom_sampler_gives_core_s_latents_and_a_recording(
    pack: Pack, landscape: Landscape, concepts: Any
) -> None:
    inputs = custom(landscape)
    with torch.inference_mode():
        plain = SamplerCustomAdvanced.execute(**inputs)
    output = pack.run("ConceptAttentionSamplerCustom", **inputs, concepts=concepts, layers="auto", end_percent=0.5)
    mean = pack.run("ConceptAttentionSamplerCustom", **inputs, concepts=concepts, keep="running mean")
    assert mean[2].averaged == "share" and torch.equal(mean[0]["samples"], output[0]["samples"])
    for index in range(2):
        assert torch.equal(output[index]["samples"], plain[index]["samples"])
    assert output[2].steps == (0, 1) and output[2].layers == output[2].default_layers
    assert pack.text(output).startswith("2 of 2 steps recorded, layers ")


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"layers": "0,9"}, "Layer 9 does not exist"),
        ({"start_percent": 1.0}, "selects no step"),
    ],
)
@pytest.mark.parametrize("node_id", ["ConceptAttentionKSampler", "ConceptAttentionSamplerCustom"])
def test_bad_settings_are_refused(
    pack: Pack, landscape: Landscape, concepts: Any, node_id: str, options: dict[str, Any], words: str
) -> None:
    inputs = sampler_inputs(landscape) if node_id.endswith("KSampler") else custom(landscape)
    with pytest.raises(ValueError, match=words):
        pack.run(node_id, **inputs, concepts=concepts, **options)


def test_a_patched_model_is_refused(pack: Pack, landscape: Landscape, concepts: Any) -> None:
    patched = pack.run("ConceptAttentionPatchModel", model=landscape[0], concepts=concepts)[0]
    with pytest.raises(ValueError, match="records concepts already"):
        pack.run("ConceptAttentionKSampler", **sampler_inputs(landscape, model=patched), concepts=concepts)


@pytest.mark.parametrize("node_id", ["ConceptAttentionKSampler", "ConceptAttentionSamplerCustom"])
def test_without_a_recording_the_latents_come_out_and_the_node_says_why(
    pack: Pack, landscape: Landscape, concepts: Any, node_id: str
) -> None:
    skipping = landscape[0].clone()
    skipping.add_wrapper_with_key(WrappersMP.DIFFUSION_MODEL, "cache", lambda executor, x, *_, **__: x)
    changed = (skipping, *landscape[1:])
    own = node_id.endswith("KSampler")
    inputs = sampler_inputs(changed) if own else custom(changed)
    output = pack.run(node_id, **inputs, concepts=concepts)
    with torch.inference_mode():
        plain = nodes.KSampler().sample(**inputs) if own else SamplerCustomAdvanced.execute(**inputs).result
    assert len(output.args) == len(plain) + 1
    for index, latent in enumerate(plain):
        assert torch.equal(output[index]["samples"], latent["samples"])
    blocked = output[len(plain)]
    assert isinstance(blocked, ExecutionBlocker) and blocked.message == pack.text(output)
    assert blocked.message.startswith("Nothing was recorded: None of ")


def test_a_run_without_steps_returns_its_latent(pack: Pack, landscape: Landscape, concepts: Any) -> None:
    output = pack.run("ConceptAttentionKSampler", **sampler_inputs(landscape, denoise=0.0), concepts=concepts)
    assert bool((output[0]["samples"] == 0).all())
    assert pack.text(output).startswith("Nothing was recorded: no step was sampled.")
