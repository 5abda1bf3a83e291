"""The measurement: scenes nobody trained on, and figures as defined, against a naive count."""

from __future__ import annotations

import math
from collections import Counter
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

pytest.importorskip("diffusers")

from concept_attention.errors import UserError
from concept_attention.heatmaps.heatmaps import make_heatmaps
from concept_attention.hosts.diffusers.analysis import analyze
from concept_attention.recording.recording import Recording
from concept_attention.scores import MODES
from concept_attention.tiny.evaluation import landscapes as evaluation
from concept_attention.tiny.evaluation.agreement import true_labels, winners
from concept_attention.tiny.evaluation.landscapes import evaluate_landscapes, scene_concepts, unseen_seed
from concept_attention.tiny.world.clips import draw_clip
from concept_attention.tiny.world.scenes import FIRST_UNSEEN_SEED, LABELS, draw_scene


@pytest.mark.parametrize("seed", [0, 1, -1, 9_999_999, -(10**30), 2**100])
def test_no_seed_leads_to_a_scene_of_training(seed: int) -> None:
    assert all(unseen_seed(seed, index) >= FIRST_UNSEEN_SEED for index in (0, 1, 99_999))
    assert draw_scene(unseen_seed(seed, 0), 64, 64).words


def test_no_two_seeds_share_a_scene() -> None:
    ends = [(unseen_seed(seed, 0), unseen_seed(seed, 99_999)) for seed in range(-50, 50)]
    ordered = sorted(ends)
    assert all(last < first for (_, last), (first, _) in zip(ordered, ordered[1:], strict=False))
    assert len({unseen_seed(3, index) for index in range(100_000)}) == 100_000


def test_training_stops_below_the_unseen_seeds() -> None:
    pool = pytest.importorskip("concept_attention.tiny.training.pool")
    jobs = list(pool._jobs(FIRST_UNSEEN_SEED - 100, ((64, 64),), 1, None))
    assert jobs and all(first + pool.CHUNK <= FIRST_UNSEEN_SEED for first, *_ in jobs)


def test_concepts_are_the_scene_s_words_and_two_it_does_not_show() -> None:
    absent = Counter()
    for seed in range(40):
        scene = draw_scene(seed, 64, 64)
        names = [concept.name for concept in scene_concepts(scene)]
        assert tuple(names[:-2]) == scene.words and len(set(names)) == len(names)
        assert not {LABELS.index(name) for name in names[-2:]} & set(np.unique(scene.labels).tolist())
        assert scene_concepts(scene) == scene_concepts(draw_scene(seed, 64, 64))
        absent.update(names[-2:])
    assert len(absent) > 8  # not always the same two


def test_the_truth_is_what_covers_most_of_a_token() -> None:
    scene = draw_scene(2, 64, 80)
    truth = true_labels(scene)
    for row in range(5):
        for column in range(4):
            patch = scene.labels[16 * row : 16 * row + 16, 16 * column : 16 * column + 16]
            counts = Counter(patch.ravel().tolist())
            assert counts[int(truth[row, column])] == max(counts.values())


def test_a_tie_is_nobody_s() -> None:
    shares = torch.tensor([[[0.5, 0.2, 0.4]], [[0.3, 0.4, 0.2]], [[0.2, 0.4, 0.4]]])
    assert winners(shares).tolist() == [[0, -1, -1]]


def naive(pipeline: Any, count: int, seed: int, **options: Any) -> dict[str, float]:
    """The figures, counted token by token."""
    right = tokens = absent = 0
    both, claimed, true = Counter(), Counter(), Counter()
    precisions = []
    for index in range(count):
        scene = draw_scene(unseen_seed(seed, index), 64, 80)
        concepts = scene_concepts(scene)
        recording = analyze(
            pipeline, Image.fromarray(scene.image), concepts, width=64, height=80, noise=0.3,
            seed=evaluation.noise_seed(scene), **options,
        )  # fmt: skip
        shares = make_heatmaps(recording, "all").values[0].flatten(1).double()
        labels = true_labels(scene).flatten().tolist()
        for token, label in enumerate(labels):
            best = max(range(len(concepts)), key=lambda c: float(shares[c, token]))
            word = concepts[best].name
            right += word == LABELS[label]
            absent += word in [concept.name for concept in concepts[-2:]]
            tokens += 1
            claimed[word] += 1
            true[LABELS[label]] += 1
            both[word] += word == LABELS[label]
        for position, concept in enumerate(concepts[:-2]):
            ranked = sorted(range(len(labels)), key=lambda t: -float(shares[position, t]))
            hits, precision = 0, 0.0
            for place, token in enumerate(ranked, 1):
                if LABELS[labels[token]] == concept.name:
                    hits += 1
                    precision += hits / place
            if hits:
                precisions.append(precision / hits)
    iou = {w: both[w] / (claimed[w] + true[w] - both[w]) for w in LABELS if claimed[w] + true[w]}
    return {
        "pixel_accuracy": right / tokens,
        "mean_iou": sum(iou.values()) / len(iou),
        "average_precision": sum(precisions) / len(precisions),
        "absent_rate": absent / tokens,
        "per_class_iou": iou,
    }


@pytest.mark.parametrize("options", [{"layers": "auto"}, {"layers": "0", "mode": "paper", "samples": 2}])
def test_the_figures_are_a_naive_count_s(random_pipeline: Any, options: dict[str, Any]) -> None:
    done: list[tuple[int, int]] = []
    found = evaluate_landscapes(
        random_pipeline, 3, 4, width=64, height=80, on_scene=lambda *at: done.append(at), **options
    )
    expected = naive(random_pipeline, 3, 4, **options)
    for name in ("pixel_accuracy", "mean_iou", "average_precision", "absent_rate"):
        assert getattr(found, name) == pytest.approx(expected[name], abs=1e-9)
    shown = {label: iou for label, iou in found.per_class_iou.items() if not math.isnan(iou)}
    assert shown == pytest.approx(expected["per_class_iou"])
    assert done == [(1, 3), (2, 3), (3, 3)]
    assert found.frame_accuracy == pytest.approx((expected["pixel_accuracy"],), abs=1e-6)
    assert math.isnan(found.moving_iou)  # nothing moves in an image
    assert found.layers == ((2, 3) if options["layers"] == "auto" else (0,))
    assert (found.mode, found.width, found.height, found.frames) == (options.get("mode", "flux"), 64, 80, 1)


def fake_analyze(perfect: bool) -> Any:
    """An `analyze` whose maps are the truth, or in which every concept has the same score."""

    def analyze(pipeline: Any, image: Image.Image, concepts: Any, **_: Any) -> Recording:
        seed = next(s for s in range(unseen_seed(0, 0), unseen_seed(0, 9)) if np.array_equal(drawn(s), image[0]))
        truth = true_labels(draw_scene(seed, 64, 64))
        labels = torch.tensor([LABELS.index(concept.name) for concept in concepts])
        scores = 9.0 * (truth.flatten() == labels[:, None]) if perfect else torch.zeros(len(labels), 16)
        return Recording(
            scores=scores[None, None, None], norms=torch.ones(1, 1, 1, len(labels)), layers=(2,), layer_count=4,
            default_layers=(2, 3), steps=(0,), sigmas=(0.3,), grid=(1, 4, 4), image_size=(64, 64),
            architecture="flux", mode=MODES["flux"].name, concepts=concepts,
        )  # fmt: skip

    return analyze


def drawn(seed: int) -> np.ndarray:
    return draw_scene(seed, 64, 64).image


def test_perfect_maps_have_perfect_figures(random_pipeline: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(evaluation, "analyze", fake_analyze(perfect=True))
    found = evaluate_landscapes(random_pipeline, 5, 0, width=64, height=64)
    assert (found.pixel_accuracy, found.mean_iou, found.average_precision, found.absent_rate) == (1, 1, 1, 0)


def test_maps_without_an_opinion_win_nothing(random_pipeline: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(evaluation, "analyze", fake_analyze(perfect=False))
    found = evaluate_landscapes(random_pipeline, 5, 0, width=64, height=64)
    assert (found.pixel_accuracy, found.mean_iou, found.absent_rate) == (0, 0, 0)
    assert found.average_precision < 0.7


FRAMES = 5


def follow(offset: int, latent: tuple[int, ...]) -> Any:
    """An `analyze` of clips that finds everything where it was `offset` frames before, in latent frames of `latent`."""

    def analyze(pipeline: Any, image: list[Image.Image], concepts: Any, **_: Any) -> Recording:
        seed = next(
            s for s in range(unseen_seed(0, 0), unseen_seed(0, 9))
            if np.array_equal(draw_clip(s, 64, 64, FRAMES).image, np.stack(image))
        )  # fmt: skip
        truth = true_labels(draw_clip(seed, 64, 64, FRAMES))
        starts = [sum(latent[:index]) for index in range(len(latent))]
        truth = truth[[max(0, start - offset) for start in starts]]
        labels = torch.tensor([LABELS.index(concept.name) for concept in concepts])
        scores = 9.0 * (truth.flatten() == labels[:, None])
        return Recording(
            scores=scores[None, None, None], norms=torch.ones(1, 1, 1, len(labels)), layers=(0,), layer_count=4,
            default_layers=(0,), steps=(0,), sigmas=(0.3,), grid=(len(latent), 4, 4), image_size=(64, 64),
            architecture="cogvideox", mode="flux", concepts=concepts,
            frame_counts=None if set(latent) == {1} else latent,
        )  # fmt: skip

    return analyze


def clip_figures(offset: int, latent: tuple[int, ...]) -> dict[str, Any]:
    """The figures of `follow`, counted token by token."""
    right, moving = np.zeros(FRAMES), []
    for index in range(6):
        clip = draw_clip(unseen_seed(0, index), 64, 64, FRAMES)
        truth = true_labels(clip).numpy()
        place = [max(0, sum(latent[:at]) - offset) for at, count in enumerate(latent) for _ in range(count)]
        found = truth[place]
        right += (found == truth).mean((1, 2)) / 6
        for name in clip.moving:
            for frame in range(FRAMES):
                here, there = (one[frame] == LABELS.index(name) for one in (found, truth))
                if (here | there).any():
                    moving.append((here & there).sum() / (here | there).sum())
    return {"frames": right.tolist(), "moving": float(np.mean(moving))}


@pytest.mark.parametrize("latent", [(1,) * FRAMES, (1, 4)])
@pytest.mark.parametrize("offset", [0, 1])
def test_of_clips_it_is_counted_frame_by_frame_and_for_what_moves(
    offset: int, latent: tuple[int, ...], random_pipeline: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(evaluation, "analyze", follow(offset, latent))
    found = evaluate_landscapes(random_pipeline, 6, 0, width=64, height=64, frames=FRAMES)
    expected = clip_figures(offset, latent)
    assert found.frames == FRAMES and found.frame_accuracy == pytest.approx(expected["frames"], abs=1e-6)
    assert found.pixel_accuracy == pytest.approx(np.mean(expected["frames"]), abs=1e-6)
    assert found.moving_iou == pytest.approx(expected["moving"], abs=1e-6)
    if offset == 0 and len(latent) == FRAMES:
        assert (found.pixel_accuracy, found.moving_iou, found.absent_rate) == (1, 1, 0)
    else:
        assert found.moving_iou < 0.9  # late maps do not follow


@pytest.mark.parametrize("options", [{"count": 0}, {"count": 100_001}, {"count": 1, "prompt": "a house"}])
def test_what_cannot_be_measured_is_an_error(random_pipeline: Any, options: dict[str, Any]) -> None:
    with pytest.raises(UserError, match="must be from 1 to 100000, got|Choose one of none, caption"):
        evaluate_landscapes(random_pipeline, **options)
