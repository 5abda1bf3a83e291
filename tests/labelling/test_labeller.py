"""The model's part: the same masks as `analyze` makes, batch by batch, and no more of the model than they need."""

from __future__ import annotations

import io
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

pytest.importorskip("diffusers")

from concept_attention.concepts import parse_concepts
from concept_attention.errors import UserError
from concept_attention.heatmaps.heatmaps import make_heatmaps
from concept_attention.heatmaps.masks import make_masks
from concept_attention.heatmaps.presence import presence_scores
from concept_attention.hosts.diffusers.analysis import ImageAnalysis, analyze
from concept_attention.hosts.diffusers.generation import generate
from concept_attention.hosts.diffusers.loading import load_pipeline
from concept_attention.labelling.findings import presences
from concept_attention.labelling.labeller import ConceptLabeller, picture_seed
from concept_attention.labelling.settings import LabelSettings
from concept_attention.tiny.world.scenes import draw_scene

CONCEPTS = parse_concepts("house, tree", background="sky, grass")


@pytest.fixture(scope="module")
def labeller() -> ConceptLabeller:
    return ConceptLabeller(LabelSettings(CONCEPTS, noise=0.3, batch=2, seed=5, width=64, height=64), "cpu")


@pytest.fixture(scope="module")
def pipeline() -> Any:
    return load_pipeline("tiny", "cpu")


@pytest.fixture(scope="module")
def scenes() -> list[Image.Image]:
    return [Image.fromarray(draw_scene(seed, 96, 96).image) for seed in range(3)]


def test_heatmaps_are_those_of_analyze_with_a_seed_for_every_picture(
    labeller: ConceptLabeller, pipeline: Any, scenes: list[Image.Image]
) -> None:
    ids = ["a", "b", "c"]
    found = labeller.analyze([labeller.scaled(one) for one in scenes], ids, [one.size for one in scenes])
    for image, picture, maps in zip(scenes, ids, found, strict=True):
        seed = picture_seed(5, picture, 1)
        recording = analyze(pipeline, image, CONCEPTS, noise=0.3, seed=seed, layers="auto", width=64, height=64)
        alone = make_heatmaps(recording)
        torch.testing.assert_close(maps.heatmaps.values, alone.values, rtol=0, atol=1e-5)
        assert maps.heatmaps.image_size == alone.image_size == (96, 96)
        scores = presence_scores(make_heatmaps(recording, kind="presence").values)[0].tolist()
        wins = presences(alone)
        for (name, score), own in zip(maps.presence.items(), scores, strict=True):
            assert score == pytest.approx(own if wins[name] else 0.0, abs=1e-3)
    other = analyze(pipeline, scenes[0], CONCEPTS, noise=0.3, seed=6, layers="auto", width=64, height=64)
    assert (make_heatmaps(other).values - found[0].heatmaps.values).abs().max() > 0.01


def test_samples_are_averaged_as_analyze_averages_them(pipeline: Any, scenes: list[Image.Image]) -> None:
    labeller = ConceptLabeller(LabelSettings(CONCEPTS, samples=3, layers="2", width=64, height=64), "cpu")
    (found,) = labeller.analyze([labeller.scaled(scenes[0])], ["a"], [scenes[0].size])
    options = {"samples": 3, "layers": "2", "width": 64, "height": 64}
    recording = analyze(pipeline, scenes[0], CONCEPTS, seed=picture_seed(0, "a", 3), **options)
    torch.testing.assert_close(found.heatmaps.values, make_heatmaps(recording).values, rtol=0, atol=1e-5)


def test_pictures_made_from_prompts_are_those_of_generate(labeller: ConceptLabeller, pipeline: Any) -> None:
    settings = LabelSettings(CONCEPTS, steps=2, width=64, height=64)
    images, found = ConceptLabeller(settings, "cpu").generate(["a house", "a tree"], seed=7)
    options = {"steps": 2, "width": 64, "height": 64, "seed": 7}
    expected = generate(pipeline, ["a house", "a tree"], CONCEPTS, layers="auto", **options)
    for index in range(2):
        np.testing.assert_array_equal(np.asarray(images[index]), np.asarray(expected.images[index]))
        alone = make_heatmaps(expected.recording).values[index]
        torch.testing.assert_close(found[index].heatmaps.values[0], alone, rtol=0, atol=1e-5)


def test_the_model_stops_after_the_last_layer_and_texts_are_encoded_once(
    labeller: ConceptLabeller, scenes: list[Image.Image], monkeypatch: pytest.MonkeyPatch
) -> None:
    pipeline = labeller._pipeline
    ran: list[str] = []
    singles = pipeline.transformer.single_transformer_blocks
    handles = [block.register_forward_hook(lambda *_: ran.append("single")) for block in singles]
    handles += [pipeline.transformer.proj_out.register_forward_hook(lambda *_: ran.append("out"))]
    small, sizes = [labeller.scaled(one) for one in scenes], [one.size for one in scenes]
    try:
        labeller.analyze(small, ["a", "b", "c"], sizes)
        handles += [pipeline.text_encoder_2.register_forward_hook(lambda *_: ran.append("text"))]
        labeller.analyze(small, ["d", "e", "f"], sizes)
    finally:
        for handle in handles:
            handle.remove()
    assert ran == [] and len(singles) > 0


def test_a_batch_of_columns_gets_labels_beside_it(labeller: ConceptLabeller, scenes: list[Image.Image]) -> None:
    file = io.BytesIO()
    scenes[1].resize((128, 64)).save(file, "PNG")  # of another shape: labelled in a batch of its own
    pictures = [np.asarray(scenes[0]), {"bytes": file.getvalue(), "path": None}, np.asarray(scenes[2])]
    free = ConceptLabeller(LabelSettings(CONCEPTS, noise=0.3), "cpu")
    free._side = 64  # not the model's own: quicker
    labels = free({"id": ["a", "b", "c"], "image": pictures, "other": [1, 2, 3]})
    assert labels["other"] == [1, 2, 3] and list(labels["concepts"][0]) == ["house", "tree"]
    for index, (shape, name) in enumerate([((96, 96), "a"), ((64, 128), "b"), ((96, 96), "c")]):
        image = Image.open(io.BytesIO(file.getvalue())) if name == "b" else scenes[index]
        (maps,) = free.analyze([free.scaled(image)], [name], [image.size])
        expected = make_masks(maps.heatmaps, "tree", "argmax")[0].numpy() > 0.5
        mask = np.asarray(Image.open(io.BytesIO(labels["mask"][index][1]))) > 127
        assert mask.shape == shape and (mask == expected).mean() > 0.999
        assert labels["area"][index][1] == pytest.approx(expected.mean(), abs=1e-3)
    with pytest.raises(UserError, match="no column image, only picture"):
        free({"picture": pictures})


def test_concepts_below_the_least_presence_are_left_out(labeller: ConceptLabeller) -> None:
    strict = ConceptLabeller(LabelSettings(CONCEPTS, min_presence=0.9, width=64, height=64), "cpu")
    sky = np.full((1, 64, 64, 3), (120, 180, 255), np.uint8)
    assert strict({"image": sky})["concepts"][0] == []


def test_what_cannot_be_labelled_is_refused() -> None:
    with pytest.raises(UserError, match="nothing to be compared with"):
        LabelSettings(parse_concepts("house"))
    with pytest.raises(UserError, match="makes videos"):
        ConceptLabeller(LabelSettings(CONCEPTS, model="tiny-cogvideox"), "cpu")
    with pytest.raises(UserError, match="Noise must be above 0"):
        ConceptLabeller(LabelSettings(CONCEPTS, noise=0.0), "cpu")


def test_only_the_last_batches_and_sizes_are_remembered(pipeline: Any) -> None:
    analysis = ImageAnalysis(pipeline, CONCEPTS, layers="auto")
    for side in range(1, 20):
        analysis.record(torch.zeros(1, 3, 16, 16 * side), [0])
    assert len(analysis._inputs) <= 16
