"""The weights with Stable Diffusion 3's architecture meet their bars, and load wherever Stable Diffusion 3 loads.

The maps of this model are taught: these are tests of the instrument and of everything between a model and its maps.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
from diffusers import StableDiffusion3Pipeline
from PIL import Image
from safetensors import safe_open

from concept_attention.concepts import parse_concepts
from concept_attention.heatmaps import Heatmaps, make_heatmaps
from concept_attention.hosts.diffusers import analyze, generate, load_pipeline
from concept_attention.hosts.diffusers.loading import defaults_for
from concept_attention.hosts.diffusers.model import is_tiny, model_name
from concept_attention.masks import make_masks
from concept_attention.summary import summarise
from concept_attention.tiny import SD3_FOLDER, evaluation
from concept_attention.tiny.codec import CODEC
from concept_attention.tiny.evaluation import evaluate_landscapes, unseen_seed
from concept_attention.tiny.scenes import LABELS, draw_scene


@pytest.fixture(scope="module")
def pipeline() -> Any:
    loaded = load_pipeline("tiny-sd3", device="cpu")
    loaded.set_progress_bar_config(disable=True)
    return loaded


def test_maps_of_200_unseen_scenes_meet_the_bars(pipeline: Any) -> None:
    figures = evaluate_landscapes(pipeline, 200, seed=1)
    assert (figures.width, figures.height, figures.layers, figures.mode) == (128, 128, (0, 1, 2, 3), "sd3")
    assert figures.pixel_accuracy >= 0.94
    assert figures.mean_iou >= 0.80
    assert figures.absent_rate <= 0.01


def test_a_transposed_grid_shows_at_once(pipeline: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    right = evaluate_landscapes(pipeline, 12, seed=3)

    def transposed(*arguments: Any, **options: Any) -> Heatmaps:
        heatmaps = make_heatmaps(*arguments, **options)
        return replace(heatmaps, values=heatmaps.values.mT)

    monkeypatch.setattr(evaluation, "make_heatmaps", transposed)
    wrong = evaluate_landscapes(pipeline, 12, seed=3)
    assert wrong.pixel_accuracy < right.pixel_accuracy - 0.2


@pytest.mark.parametrize("index", [0, 1, 2])
def test_masks_are_empty_for_absent_concepts(pipeline: Any, index: int) -> None:
    scene = draw_scene(unseen_seed(4, index), 128, 128)
    absent = [label for label in LABELS if label not in scene.words][:2]
    picture = Image.fromarray(scene.image)
    heatmaps = make_heatmaps(analyze(pipeline, picture, parse_concepts(", ".join([*scene.words, *absent])), noise=0.3))
    figures = {one.name: one for one in summarise(heatmaps)}
    for name in absent:
        assert figures[name].absent and make_masks(heatmaps, name, "argmax").mean() <= 0.01


def test_a_plain_pipeline_reads_the_folder_and_makes_the_same_picture(pipeline: Any) -> None:
    plain = StableDiffusion3Pipeline.from_pretrained(SD3_FOLDER)
    plain.set_progress_bar_config(disable=True)
    prompt, steps = "a boat, a sun, water, sky", 4
    ours = generate(pipeline, prompt, parse_concepts("boat"), steps=steps, seed=7).images[0]
    torch.manual_seed(7)  # its scheduler draws noise
    theirs = plain(
        prompt,
        negative_prompt="",
        guidance_scale=defaults_for(pipeline).cfg,
        width=128,
        height=128,
        num_inference_steps=steps,
        max_sequence_length=24,
        generator=torch.Generator().manual_seed(7),
    ).images[0]
    assert ours.tobytes() == theirs.tobytes()


def test_it_is_known_by_its_name_as_taught(pipeline: Any) -> None:
    assert is_tiny(pipeline) and model_name(pipeline) == "tiny-sd3"
    assert pipeline.transformer.dtype == torch.float32


def test_it_has_the_layout_of_stable_diffusion_3(pipeline: Any) -> None:
    blocks = pipeline.transformer.transformer_blocks
    assert [block.attn2 is not None for block in blocks] == [True, False, False, False]
    assert [block.context_pre_only for block in blocks] == [False, False, False, True]
    assert all(block.attn.norm_k is not None for block in blocks)
    text, _, pooled, _ = pipeline.encode_prompt("a house", None, None, max_sequence_length=24)
    assert text.shape == (1, 24 + 24, 128) and pooled.shape == (1, 96)  # CLIP's tokens, then T5's
    assert (text[:, :24, 96:] == 0).all() and text[:, 24:, 96:].abs().max() > 0


def test_the_folder_is_small_and_in_bfloat16() -> None:
    files = [path for path in SD3_FOLDER.rglob("*") if path.is_file()]
    assert sum(path.stat().st_size for path in files) < 8_000_000
    for path in (path for path in files if path.suffix == ".safetensors" and path.name != CODEC):
        with safe_open(path, "pt") as tensors:
            assert {tensors.get_slice(name).get_dtype() for name in tensors.keys()} == {"BF16"}  # noqa: SIM118
