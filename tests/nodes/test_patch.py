"""A patched MODEL with core's KSampler, and the recording that is collected from it."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import nodes
import pytest
import torch
from comfy.patcher_extension import WrappersMP
from comfy_execution.graph_utils import ExecutionBlocker

from .conftest import Pack, sampler_inputs

Landscape = tuple[Any, Any, Any]


def test_core_s_sampler_records_with_a_patched_model(pack: Pack, landscape: Landscape, concepts: Any) -> None:
    patched = pack.run("ConceptAttentionPatchModel", model=landscape[0], concepts=concepts, layers="1-2")[0]
    inputs = sampler_inputs(landscape)
    with torch.inference_mode():
        (plain,) = nodes.KSampler().sample(**inputs)
        (latent,) = nodes.KSampler().sample(**{**inputs, "model": patched})
    assert torch.equal(plain["samples"], latent["samples"])
    output = pack.run("ConceptAttentionCollect", latent=latent)
    assert output[0].layers == (1, 2) and len(output[0].steps) == 4 and output[0].grid == (1, 4, 6)
    assert pack.run("ConceptAttentionCollect", latent=latent, model=patched)[0] is output[0]
    assert pack.text(output).splitlines()[:2] == [
        "4 of 4 steps recorded, layers 1-2 of 4, 4 concepts",
        "1 image of 6 x 4 tokens, 3 KiB",
    ]


def test_words_with_their_clip_record_what_encoded_concepts_do(pack: Pack, landscape: Landscape, concepts: Any) -> None:
    model, clip, _ = landscape
    encoded = pack.run("ConceptEncode", clip=clip, concepts="house, sun", background="sky, grass")[0]
    written = {"clip": clip, "words": "house, sun", "background": "sky, grass"}
    recordings = []
    for given in ({"concepts": encoded}, written):
        patched = pack.run("ConceptAttentionPatchModel", model=model, **given)[0]
        with torch.inference_mode():
            (latent,) = nodes.KSampler().sample(**sampler_inputs(landscape, model=patched, seed=11))
        recordings.append(pack.run("ConceptAttentionCollect", latent=latent, model=patched)[0])
    one, other = recordings
    assert one.concepts == other.concepts and torch.equal(one.scores, other.scores)


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({}, "Nothing to look for. Write it in `words` and connect `clip`, or connect Encode Concepts."),
        ({"background": "sky"}, "Nothing to look for."),
        ({"words": "house"}, "`words` need a text encoder. Connect `clip`"),
    ],
)
def test_a_model_without_concepts_is_refused(
    pack: Pack, landscape: Landscape, given: dict[str, Any], words: str
) -> None:
    with pytest.raises(ValueError) as caught:
        pack.run("ConceptAttentionPatchModel", model=landscape[0], **given)
    assert words in str(caught.value)


def test_words_beside_encoded_concepts_are_refused(pack: Pack, landscape: Landscape, concepts: Any) -> None:
    with pytest.raises(ValueError, match="Remove the link, or empty `words` and `background`"):
        pack.run("ConceptAttentionPatchModel", model=landscape[0], concepts=concepts, words="house")


def test_collected_heatmaps_are_those_that_heatmaps_makes_by_default(
    pack: Pack, landscape: Landscape, concepts: Any
) -> None:
    patched = pack.run("ConceptAttentionPatchModel", model=landscape[0], concepts=concepts)[0]
    with torch.inference_mode():
        (latent,) = nodes.KSampler().sample(**sampler_inputs(landscape, model=patched, seed=12))
    output = pack.run("ConceptAttentionCollect", latent=latent)
    expected = pack.run("ConceptHeatmaps", recording=output[0])[0]
    assert output[1].concepts == expected.concepts and torch.equal(output[1].values, expected.values)


def test_a_range_of_steps_is_recorded(pack: Pack, landscape: Landscape, concepts: Any) -> None:
    patched = pack.run(
        "ConceptAttentionPatchModel", model=landscape[0], concepts=concepts, start_percent=0.5, end_percent=1.0
    )[0]
    with torch.inference_mode():
        (latent,) = nodes.KSampler().sample(**sampler_inputs(landscape, model=patched, seed=6))
    output = pack.run("ConceptAttentionCollect", latent=latent)
    assert output[0].steps == (2, 3) and pack.text(output).startswith("2 of 2 steps recorded")


def test_a_latent_of_another_model_is_refused(pack: Pack) -> None:
    with pytest.raises(ValueError, match="patched MODEL"):
        pack.run("ConceptAttentionCollect", latent={"samples": torch.ones(1, 16, 3, 5)})


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"layers": "4"}, "Layer 4 does not exist: this model has 4 joint blocks (0-3)."),
        ({"layers": "two"}, '`layers` cannot be "two". Write auto, all, 15-18 or 3,7,9-11.'),
        ({"start_percent": 0.6, "end_percent": 0.4}, "The range 0.6 to 0.4 selects no step."),
        ({"start_percent": 0.5, "end_percent": 0.5}, "selects no step."),
        ({"mode": "sd4"}, "Mode 'sd4' does not exist. Choose one of auto, paper, flux"),
    ],
)
def test_bad_settings_are_refused_before_anything_is_sampled(
    pack: Pack, landscape: Landscape, concepts: Any, options: dict[str, Any], words: str
) -> None:
    with pytest.raises(ValueError) as caught:
        pack.run("ConceptAttentionPatchModel", model=landscape[0], concepts=concepts, **options)
    assert words in str(caught.value)


def test_concepts_of_another_text_encoder_are_refused_with_both_widths(
    pack: Pack, landscape: Landscape, tiny_clip: Any
) -> None:
    foreign = pack.run("ConceptEncode", clip=tiny_clip, concepts="house")[0]
    with pytest.raises(ValueError, match=r"have width 48, but this model expects \d+\. Encode the concepts with"):
        pack.run("ConceptAttentionPatchModel", model=landscape[0], concepts=foreign)


def test_a_model_without_joint_blocks_is_refused_by_name(pack: Pack, concepts: Any) -> None:
    class SDXL:
        diffusion_model = torch.nn.Linear(1, 1)

    with pytest.raises(ValueError, match="SDXL.*Flux 1"):
        pack.run("ConceptAttentionPatchModel", model=SimpleNamespace(model=SDXL()), concepts=concepts)


def test_a_model_is_patched_once(pack: Pack, landscape: Landscape, concepts: Any) -> None:
    patched = pack.run("ConceptAttentionPatchModel", model=landscape[0], concepts=concepts)[0]
    with pytest.raises(ValueError, match="records concepts already"):
        pack.run("ConceptAttentionPatchModel", model=patched, concepts=concepts)


def test_a_patched_model_can_keep_the_running_mean(pack: Pack, landscape: Landscape, concepts: Any) -> None:
    patched = pack.run("ConceptAttentionPatchModel", model=landscape[0], concepts=concepts, keep="running mean")[0]
    with torch.inference_mode():
        (latent,) = nodes.KSampler().sample(**sampler_inputs(landscape, model=patched, seed=77))
    output = pack.run("ConceptAttentionCollect", latent=latent)
    said = pack.text(output)
    assert output[0].averaged == "share" and "4 of 4 steps recorded as their mean" in said
    assert said.endswith("\n" + output[0].metadata["cautions"]) and "The landscape model at" in said


def test_a_run_that_could_not_be_recorded_blocks_what_needs_the_recording(
    pack: Pack, landscape: Landscape, concepts: Any
) -> None:
    skipping = landscape[0].clone()
    skipping.add_wrapper_with_key(WrappersMP.DIFFUSION_MODEL, "cache", lambda executor, x, *_, **__: x)
    patched = pack.run("ConceptAttentionPatchModel", model=skipping, concepts=concepts)[0]
    with torch.inference_mode():
        (latent,) = nodes.KSampler().sample(**sampler_inputs(landscape, model=patched, seed=78))
    output = pack.run("ConceptAttentionCollect", latent=latent)
    assert isinstance(output[0], ExecutionBlocker) and isinstance(output[1], ExecutionBlocker)
    assert "nothing was recorded: None of 4 steps ran all selected layers" in pack.text(output)
    assert output[0].message == pack.text(output)


def test_steps_that_are_missing_are_explained_below_the_node(
    pack: Pack, landscape: Landscape, concepts: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    session = pack.module("concept_attention.hosts.comfyui.engine.session")
    level, calls = session.noise_level, iter(range(10))

    def once(*args: Any) -> float:
        if next(calls) == 1:
            raise TypeError("on purpose")
        return float(level(*args))

    monkeypatch.setattr(session, "noise_level", once)
    output = pack.run("ConceptAttentionKSampler", **sampler_inputs(landscape), concepts=concepts)
    first, *_, last = pack.text(output).splitlines()
    assert first.startswith("3 of 4 steps recorded")
    assert last.startswith("Not everything was recorded: recording failed with TypeError: on purpose")
