"""The weights with CogVideoX's architecture meet their bars on clips, and load wherever CogVideoX loads.

The maps of this model are taught: these are tests of the instrument and of everything between a model and its maps.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from diffusers import CogVideoXPipeline
from PIL import Image
from safetensors import safe_open

from concept_attention.concepts import parse_concepts
from concept_attention.heatmaps import Heatmaps, make_heatmaps
from concept_attention.hosts.diffusers import analyze, generate, load_pipeline
from concept_attention.hosts.diffusers.loading import defaults_for
from concept_attention.hosts.diffusers.model import is_tiny, model_name
from concept_attention.masks import make_masks
from concept_attention.summary import summarise
from concept_attention.tiny import COGVIDEOX_FOLDER, evaluation
from concept_attention.tiny.agreement import Evaluation
from concept_attention.tiny.clips import Clip, draw_clip
from concept_attention.tiny.codec import CODEC, read_codec
from concept_attention.tiny.evaluation import evaluate_landscapes, unseen_seed
from concept_attention.tiny.scenes import LABELS


@pytest.fixture(scope="module")
def pipeline() -> Any:
    loaded = load_pipeline("tiny-cogvideox", device="cpu")
    loaded.set_progress_bar_config(disable=True)
    return loaded


def _frames(clip: Clip) -> list[Image.Image]:
    return [Image.fromarray(one) for one in clip.image]


def test_maps_of_40_unseen_clips_meet_the_bars_in_every_frame(pipeline: Any) -> None:
    figures = evaluate_landscapes(pipeline, 40, seed=1)
    assert (figures.width, figures.height, figures.frames) == (128, 128, 9)
    assert (figures.layers, figures.mode) == ((0, 1, 2), "cogvideox")
    assert figures.pixel_accuracy >= 0.90 and min(figures.frame_accuracy) >= 0.90
    assert figures.moving_iou >= 0.6
    assert figures.absent_rate <= 0.01


@pytest.fixture(scope="module")
def right(pipeline: Any) -> Evaluation:
    return evaluate_landscapes(pipeline, 6, seed=3)


@pytest.mark.parametrize("axis", [-3, -1])
def test_frames_in_another_order_and_a_mirrored_grid_show_at_once(
    pipeline: Any, right: Evaluation, monkeypatch: pytest.MonkeyPatch, axis: int
) -> None:
    def turned(*arguments: Any, **options: Any) -> Heatmaps:
        heatmaps = make_heatmaps(*arguments, **options)
        return replace(heatmaps, values=heatmaps.values.flip(axis))

    monkeypatch.setattr(evaluation, "make_heatmaps", turned)
    wrong = evaluate_landscapes(pipeline, 6, seed=3)
    assert wrong.moving_iou < right.moving_iou - 0.2


def test_masks_of_what_moves_follow_it_from_frame_to_frame(pipeline: Any) -> None:
    overlaps = []
    for index in range(8):
        clip = draw_clip(unseen_seed(4, index))
        heatmaps = make_heatmaps(analyze(pipeline, _frames(clip), parse_concepts(", ".join(clip.words)), noise=0.3))
        for name in clip.moving:
            masks = make_masks(heatmaps, name, "argmax")[0].bool().numpy()
            truth = clip.labels == LABELS.index(name)
            assert masks.shape == truth.shape == (9, 128, 128)
            both, either = (one.sum((1, 2)) for one in (masks & truth, masks | truth))
            overlaps.append(float((both / either).mean()))
            for mask, true in zip(masks, truth, strict=True):
                if mask.any():  # a token is 16 pixels wide
                    assert abs(np.nonzero(mask)[1].mean() - np.nonzero(true)[1].mean()) < 12, (clip.seed, name)
    # Of single pixels: the smallest things, two tokens large, are lost between others.
    assert len(overlaps) >= 8 and np.median(overlaps) > 0.6


def test_masks_are_empty_for_absent_concepts(pipeline: Any) -> None:
    clip = draw_clip(unseen_seed(5, 0))
    absent = [label for label in LABELS if label not in clip.words][:2]
    concepts = parse_concepts(", ".join([*clip.words, *absent]))
    heatmaps = make_heatmaps(analyze(pipeline, _frames(clip), concepts, noise=0.3))
    figures = {one.name: one for one in summarise(heatmaps)}
    for name in absent:
        assert figures[name].absent and make_masks(heatmaps, name, "argmax").mean() <= 0.01


def test_a_plain_pipeline_reads_the_folder_and_makes_the_same_clip(pipeline: Any) -> None:
    plain = CogVideoXPipeline.from_pretrained(COGVIDEOX_FOLDER)
    plain.set_progress_bar_config(disable=True)
    prompt, steps = "a boat on water", 3
    ours = generate(pipeline, prompt, parse_concepts("boat"), steps=steps, seed=7).videos[0]
    theirs = plain(
        prompt,
        negative_prompt="",
        guidance_scale=defaults_for(pipeline).cfg,
        width=128,
        height=128,
        num_frames=9,
        num_inference_steps=steps,
        max_sequence_length=24,
        generator=torch.Generator().manual_seed(7),
    ).frames[0]
    assert len(ours) == 9 and [one.tobytes() for one in ours] == [one.tobytes() for one in theirs]


def test_it_is_known_by_its_name_as_taught(pipeline: Any) -> None:
    assert is_tiny(pipeline) and model_name(pipeline) == "tiny-cogvideox"
    assert pipeline.transformer.dtype == torch.float32


@torch.no_grad()
def test_the_shipped_encoder_is_the_shipped_codec(pipeline: Any) -> None:
    clip = draw_clip(unseen_seed(6, 0))
    pixels = torch.from_numpy(clip.image).permute(3, 0, 1, 2)[None].float() / 127.5 - 1
    latents = pipeline.vae.encode(pixels).latent_dist.mode()[0].transpose(0, 1).numpy()
    codec = read_codec(COGVIDEOX_FOLDER / CODEC)
    # bfloat16 keeps three digits of the projection
    assert np.abs(latents - codec.encode(clip.image)).max() < 0.05


def test_the_folder_is_small_and_in_bfloat16() -> None:
    files = [path for path in COGVIDEOX_FOLDER.rglob("*") if path.is_file()]
    assert sum(path.stat().st_size for path in files) < 8_000_000
    for path in (path for path in files if path.suffix == ".safetensors" and path.name != CODEC):
        with safe_open(path, "pt") as tensors:
            assert {tensors.get_slice(name).get_dtype() for name in tensors.keys()} == {"BF16"}  # noqa: SIM118
