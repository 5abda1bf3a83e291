"""What only the landscape model with Flux's architecture has to show."""

from __future__ import annotations

from typing import Any

import pytest
from safetensors import safe_open

from concept_attention.concepts import parse_concepts
from concept_attention.embedded import FLUX_FOLDER
from concept_attention.heatmaps.heatmaps import make_heatmaps
from concept_attention.heatmaps.masks import make_masks
from concept_attention.heatmaps.summary import summarise
from concept_attention.hosts.diffusers import analyze, generate, load_pipeline
from concept_attention.tiny.evaluation.agreement import winners
from concept_attention.tiny.evaluation.landscapes import evaluate_landscapes


@pytest.fixture(scope="module")
def pipeline() -> Any:
    loaded = load_pipeline("tiny", device="cpu")
    loaded.set_progress_bar_config(disable=True)
    return loaded


@pytest.mark.parametrize(("width", "height"), [(384, 256), (192, 320)])
def test_wide_and_tall_scenes_are_mapped_as_well(pipeline: Any, width: int, height: int) -> None:
    figures = evaluate_landscapes(pipeline, 16, seed=2, width=width, height=height)
    assert figures.pixel_accuracy >= 0.93


def test_a_wrong_layer_shows_at_once(pipeline: Any) -> None:
    right = evaluate_landscapes(pipeline, 12, seed=3)
    first_layer = evaluate_landscapes(pipeline, 12, seed=3, layers="0")
    assert first_layer.pixel_accuracy < right.pixel_accuracy - 0.2


PROMPTS = (
    ("a red house and a tree on grass under the sky", "house, tree, grass, sky", "moon"),
    ("a boat, a sun, water, sky", "boat, sun, water, sky", "car"),
    ("a mountain on snow under the night sky", "mountain, snow, sky", "flower"),
    ("a red car on sand", "car, sand, sky", "boat"),
)


def test_maps_while_generating_agree_with_maps_of_the_finished_image(pipeline: Any) -> None:
    agreements = []
    for prompt, present, absent in PROMPTS:
        concepts = parse_concepts(present, absent)
        result = generate(pipeline, prompt, concepts, seed=5)
        finished = analyze(pipeline, result.images[0], concepts, noise=0.3)
        while_made, after = (winners(make_heatmaps(one).values[0]) for one in (result.recording, finished))
        agreements.append(float((while_made == after).float().mean()))
        figures = {one.name: one for one in summarise(make_heatmaps(finished))}
        assert not any(figures[name].absent for name in present.split(", "))
        assert figures[absent].area <= 0.01
        masks = make_masks(make_heatmaps(finished), absent, "argmax")
        assert masks.mean() <= 0.01
    assert sum(agreements) / len(agreements) >= 0.85


def test_padding_as_far_as_plain_pipelines_do_changes_little(pipeline: Any) -> None:
    """The layout it draws may be another; what it shows, and where it sees it, may not."""
    concepts, prompt = parse_concepts("house, tree, grass, sky"), PROMPTS[0][0]
    drawn = generate(pipeline, prompt, concepts, seed=5, max_tokens=512)
    assert not any(one.absent for one in summarise(make_heatmaps(drawn.recording)))
    short, long = (
        analyze(pipeline, drawn.images[0], concepts, prompt=prompt, noise=0.3, max_tokens=tokens)
        for tokens in (24, 512)
    )
    agree = winners(make_heatmaps(short).values[0]) == winners(make_heatmaps(long).values[0])
    assert agree.float().mean() >= 0.9


def test_stock_loaders_find_what_they_look_for_in_a_flux() -> None:
    """Head size 128 and the axes 16/56/56 are not in the file: a loader infers them from these shapes."""
    with safe_open(FLUX_FOLDER / "transformer" / "diffusion_pytorch_model.safetensors", "pt") as tensors:
        shapes = {name: tuple(tensors.get_slice(name).get_shape()) for name in tensors.keys()}  # noqa: SIM118
    assert shapes["transformer_blocks.0.attn.norm_added_k.weight"] == (128,)
    assert shapes["transformer_blocks.0.attn.add_q_proj.weight"] == (128, 128)
    assert shapes["x_embedder.weight"] == (128, 64)
    assert shapes["proj_out.weight"] == (64, 128)
    assert "single_transformer_blocks.0.proj_mlp.weight" in shapes
