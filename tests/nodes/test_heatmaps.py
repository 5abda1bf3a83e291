"""ConceptHeatmaps: heatmaps of a recording and the report on them."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch

from concept_attention.tiny.evaluation.landscapes import unseen_seed
from concept_attention.tiny.world.scenes import OBJECTS, draw_scene

from .conftest import Pack


def test_the_node_makes_the_library_s_heatmaps(pack: Pack, recording: Any) -> None:
    library = pack.module("concept_attention.heatmaps.heatmaps")
    chosen = {"layers": "1,3", "steps": "-2", "mode": "flux2", "kind": "score"}
    made = pack.run("ConceptHeatmaps", recording=recording, **chosen, temperature=0.0)[0]
    assert torch.equal(made.values, library.make_heatmaps(recording, "1,3", "-2", "flux2", None, "score").values)
    warm = pack.run("ConceptHeatmaps", recording=recording, temperature=5.0)[0]
    assert torch.equal(warm.values, library.make_heatmaps(recording, temperature=5.0).values)
    plain = pack.run("ConceptHeatmaps", recording=recording)[0]
    assert torch.equal(plain.values, library.make_heatmaps(recording).values)


def test_the_node_says_what_was_used_and_how_present_each_concept_is(pack: Pack, recording: Any) -> None:
    lines = pack.text(pack.run("ConceptHeatmaps", recording=recording, layers="0-1,3", steps="1-2")).splitlines()
    assert lines[:3] == [
        "layers 0-1, 3 of 4, 2 of 4 recorded steps",
        "mode flux, temperature 1",
        "concept             mean share  peak share    area  presence",
    ]
    assert [line.split()[0] for line in lines[3:7]] == ["house", "sun", "sky", "grass"]


@pytest.mark.parametrize("kind", ["score", "stretched"])
def test_presence_is_told_in_shares_whatever_is_shown(pack: Pack, recording: Any, kind: str) -> None:
    shares = pack.text(pack.run("ConceptHeatmaps", recording=recording))
    assert pack.text(pack.run("ConceptHeatmaps", recording=recording, kind=kind)) == shares


def test_an_absent_concept_is_named(pack: Pack, landscape: Any) -> None:
    model, clip, vae = landscape
    scene = draw_scene(unseen_seed(5, 0))
    absent = next(name for name in OBJECTS if name not in scene.words)
    encoded = pack.run("ConceptEncode", clip=clip, concepts=absent, background=", ".join(scene.words))[0]
    latent = {"samples": vae.encode(torch.tensor(scene.image)[None] / 255)}
    inputs = {"model": model, "concepts": encoded, "latent": latent, "noise": 0.3, "samples": 1, "seed": 0}
    found = pack.run("ConceptAttentionEncodeImage", **inputs)[0]
    said = pack.text(pack.run("ConceptHeatmaps", recording=found))
    assert f"\n{absent}: absent (presence 0.0" in said
    assert said.count(": absent") == 1


def test_the_node_warns_where_there_is_no_background(pack: Pack, recording: Any) -> None:
    named = "No background: a concept also wins what nobody named"
    assert named not in pack.text(pack.run("ConceptHeatmaps", recording=recording))
    concepts = tuple(replace(concept, role="concept") for concept in recording.concepts)
    said = pack.text(pack.run("ConceptHeatmaps", recording=replace(recording, concepts=concepts)))
    assert named in said


def test_the_temperature_shown_is_the_one_used(pack: Pack, recording: Any) -> None:
    said = pack.text(pack.run("ConceptHeatmaps", recording=recording, mode="flux2"))
    assert "mode flux2, temperature 1000" in said
    said = pack.text(pack.run("ConceptHeatmaps", recording=recording, mode="flux2", temperature=2.5))
    assert "mode flux2, temperature 2.5" in said


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"layers": "5"}, "Layer 5 does not exist: this model has 4 joint blocks (0-3)."),
        ({"layers": ""}, '`layers` cannot be "". Write auto, all, 15-18 or 3,7,9-11.'),
        ({"steps": "4"}, "Step 4 does not exist: there are 4 steps (0-3, or -1 for the last)."),
        ({"steps": "3-1"}, "runs backwards"),
        ({"mode": "paper"}, "Mode paper cannot be read from a recording made for mode flux"),
        ({"mode": "sd4"}, "Mode 'sd4' does not exist."),
        ({"temperature": 1e-9}, "Temperature must lie in 1e-06 to 1e+09, got 1e-09."),
        ({"kind": "heat"}, "Kind of heatmap 'heat' does not exist. Choose one of share"),
    ],
)
def test_bad_choices_are_refused(pack: Pack, recording: Any, options: dict[str, Any], words: str) -> None:
    with pytest.raises(ValueError) as caught:
        pack.run("ConceptHeatmaps", recording=recording, **options)
    assert words in str(caught.value)


def test_a_layer_that_was_not_recorded_is_refused(pack: Pack, landscape: Any, concepts: Any, sampled: Any) -> None:
    options = {"noise": 0.3, "samples": 1, "seed": 0, "layers": "1-2"}
    found = pack.run(
        "ConceptAttentionEncodeImage", model=landscape[0], concepts=concepts, latent=sampled[0], **options
    )[0]
    with pytest.raises(ValueError, match="Layer 3 was not recorded: this recording keeps 1, 2."):
        pack.run("ConceptHeatmaps", recording=found, layers="3")
