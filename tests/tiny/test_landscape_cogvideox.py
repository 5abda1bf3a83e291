"""What only the landscape model with CogVideoX's architecture has to show: what moves, frame by frame."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from concept_attention.concepts import parse_concepts
from concept_attention.embedded import COGVIDEOX_FOLDER
from concept_attention.heatmaps.heatmaps import Heatmaps, make_heatmaps
from concept_attention.heatmaps.masks import make_masks
from concept_attention.hosts.diffusers import analyze, load_pipeline
from concept_attention.tiny.evaluation import landscapes as evaluation
from concept_attention.tiny.evaluation.agreement import Evaluation
from concept_attention.tiny.evaluation.landscapes import evaluate_landscapes, unseen_seed
from concept_attention.tiny.models.codec import CODEC, read_codec
from concept_attention.tiny.world.clips import Clip, draw_clip
from concept_attention.tiny.world.scenes import LABELS


@pytest.fixture(scope="module")
def pipeline() -> Any:
    loaded = load_pipeline("tiny-cogvideox", device="cpu")
    loaded.set_progress_bar_config(disable=True)
    return loaded


def _frames(clip: Clip) -> list[Image.Image]:
    return [Image.fromarray(one) for one in clip.image]


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


@torch.no_grad()
def test_the_shipped_encoder_is_the_shipped_codec(pipeline: Any) -> None:
    clip = draw_clip(unseen_seed(6, 0))
    pixels = torch.from_numpy(clip.image).permute(3, 0, 1, 2)[None].float() / 127.5 - 1
    latents = pipeline.vae.encode(pixels).latent_dist.mode()[0].transpose(0, 1).numpy()
    codec = read_codec(COGVIDEOX_FOLDER / CODEC)
    # bfloat16 keeps three digits of the projection
    assert np.abs(latents - codec.encode(clip.image)).max() < 0.05
