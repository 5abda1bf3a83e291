"""The guided filter against loops over windows, and heatmaps that take over the edges of an image."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch
from torch import Tensor

from concept_attention.choices import Kind
from concept_attention.concepts import Concept
from concept_attention.errors import UserError
from concept_attention.heatmaps.guided import Guide, guided_filter, sharpen_heatmaps
from concept_attention.heatmaps.heatmaps import Heatmaps
from concept_attention.heatmaps.resize import resize_maps

CONCEPTS = (Concept("left", "left"), Concept("right", "right"))


def random(*shape: int, seed: int = 0) -> Tensor:
    return torch.rand(*shape, generator=torch.Generator().manual_seed(seed))


def naive_guided_filter(values: Tensor, guide: Tensor, radius: int, epsilon: float) -> Tensor:
    """One map (H, W): a linear regression in every window, and at every pixel the mean of its windows' answers."""
    height, width = values.shape
    answers = np.zeros((height, width))
    counts = np.zeros((height, width))
    for y in range(height):
        for x in range(width):
            rows = slice(max(0, y - radius), y + radius + 1)
            columns = slice(max(0, x - radius), x + radius + 1)
            colours = guide[rows, columns].reshape(-1, 3).double().numpy()
            wanted = values[rows, columns].flatten().double().numpy()
            centred = colours - colours.mean(axis=0)
            matrix = centred.T @ centred / len(colours) + epsilon * np.eye(3)
            slope = np.linalg.solve(matrix, centred.T @ (wanted - wanted.mean()) / len(colours))
            offset = wanted.mean() - slope @ colours.mean(axis=0)
            window = guide[rows, columns].double().numpy()
            answers[rows, columns] += window @ slope + offset
            counts[rows, columns] += 1
    return torch.from_numpy(answers / counts)


def half_image(edge: int, size: int = 32) -> Tensor:
    """Black left of `edge`, green right of it, (1, size, size, 3)."""
    image = torch.zeros(1, size, size, 3)
    image[:, :, edge:, 1] = 0.8
    return image


def half_heatmaps(kind: Kind = "share", frames: int = 0, batch: int = 1) -> Heatmaps:
    """4 x 4 tokens of 8 pixels; the edge lies somewhere in the second column."""
    left = torch.tensor([0.95, 0.6, 0.05, 0.05]).expand(4, 4)
    maps = torch.stack([left, 1 - left])
    values = maps.expand(batch, 2, 4, 4) if not frames else maps[:, None].expand(batch, 2, frames, 4, 4)
    return Heatmaps(values.clone(), CONCEPTS, kind, (32, 32))


@pytest.mark.parametrize(("height", "width", "radius"), [(9, 12, 2), (7, 5, 1), (6, 6, 40)])
def test_the_filter_equals_regressions_window_by_window(height: int, width: int, radius: int) -> None:
    values, guide = random(height, width), random(height, width, 3, seed=1)
    expected = naive_guided_filter(values, guide, radius, 1e-3)
    assert torch.allclose(guided_filter(values, guide, radius, 1e-3).double(), expected, atol=1e-6)


def test_leading_axes_are_filtered_each_on_its_own() -> None:
    values, guide = random(2, 3, 8, 8), random(8, 8, 3, seed=1)
    whole = guided_filter(values, guide, 2, 1e-3)
    assert whole.shape == values.shape and whole.dtype == torch.float32
    assert torch.equal(whole[1, 2], guided_filter(values[1, 2], guide, 2, 1e-3))


def test_constant_maps_stay_and_sums_are_kept() -> None:
    guide = random(16, 20, 3, seed=1)
    shares = random(3, 16, 20).softmax(dim=0)
    assert torch.allclose(guided_filter(torch.full((16, 20), 0.3), guide, 4, 1e-4), torch.tensor(0.3), atol=1e-6)
    assert torch.allclose(guided_filter(shares, guide, 4, 1e-4).sum(dim=0), torch.tensor(1.0), atol=1e-5)


def test_a_large_bright_guide_loses_no_precision() -> None:
    """Float32 sums over 1024 rows would drown the variance of a faint edge."""
    guide = torch.full((1024, 64, 3), 0.9)
    guide[:, 32:] += 0.004
    values = torch.zeros(1024, 64)
    values[:, 32:] = 1
    filtered = guided_filter(values, guide, 8, 1e-8)
    assert float((filtered[512] - filtered[20]).abs().max()) < 1e-4
    assert float((filtered[512] - values[512]).abs().max()) < 0.01


def test_small_maps_are_resized_to_the_guide() -> None:
    values, guide = random(3, 4, 4), random(16, 16, 3, seed=1)
    resized = resize_maps(values, (16, 16))
    assert torch.equal(guided_filter(values, guide, 3, 1e-3), guided_filter(resized, guide, 3, 1e-3))


def test_shrinking_by_a_fourth_of_the_radius_changes_little() -> None:
    guide = resize_maps(random(3, 8, 8, seed=1), (96, 96)).permute(1, 2, 0)
    guide[:, 50:] *= 0.3
    values = (resize_maps(random(1, 6, 6), (96, 96)) > 0.5).float()
    exact, fast = guided_filter(values, guide, 16, 1e-3), guided_filter(values, guide, 16, 1e-3, shrink=4)
    assert fast.shape == exact.shape
    assert float((fast - exact).abs().mean()) < 0.03 and float((fast - exact).abs().max()) < 0.2


@pytest.mark.parametrize(("size", "covered"), [((24, 32), (24, 32)), ((21, 29), (24, 32))])
def test_each_round_adds_what_the_filtered_maps_lack_in_each_token(
    size: tuple[int, int], covered: tuple[int, int]
) -> None:
    """Tokens of 8 pixels; pixels beyond the image are those of its border."""
    tokens, image = random(2, 3, 4), random(*size, 3, seed=1)
    visible = (size[0] / covered[0], size[1] / covered[1])

    def naive(rounds: int) -> Tensor:
        wanted = tokens
        for round_ in range(rounds + 1):
            filtered = guided_filter(resize_maps(wanted, size, visible), image, 5, 1e-3)
            if round_ == rounds:
                return filtered
            means = torch.zeros_like(tokens)
            for row in range(3):
                for column in range(4):
                    rows = torch.arange(8 * row, 8 * row + 8).clamp(max=size[0] - 1)
                    columns = torch.arange(8 * column, 8 * column + 8).clamp(max=size[1] - 1)
                    means[:, row, column] = filtered[:, rows][:, :, columns].mean((1, 2))
            wanted = wanted + tokens - means
        raise AssertionError

    guide = Guide(image, size, 5, 1e-3)
    for rounds in (0, 1, 2):
        assert torch.allclose(guide.filter_tokens(tokens, rounds, visible), naive(rounds), atol=1e-5)


def test_what_is_thinner_than_a_token_stays() -> None:
    """A mast of 4 pixels in tokens of 16, whose share is what it covers of them."""
    mast = torch.zeros(96, 96)
    mast[16:80, 38:42] = 1
    share = torch.nn.functional.avg_pool2d(mast[None, None], 16)[0]
    heatmaps = Heatmaps(torch.cat([share, 1 - share])[None], CONCEPTS, "share", (96, 96))
    image = torch.stack([0.7 - 0.4 * mast, 0.8 - 0.5 * mast, 0.9 - 0.7 * mast], dim=-1)[None]

    def iou(rounds: int) -> float:
        won = sharpen_heatmaps(heatmaps, image, rounds=rounds).values[0].diff(dim=0)[0] < 0
        return float((won & mast.bool()).sum() / (won | mast.bool()).sum())

    assert iou(0) < 0.1 and iou(2) > 0.9


def test_rounds_below_none_are_refused() -> None:
    with pytest.raises(UserError, match="The number of rounds is 0 or more, got -1"):
        sharpen_heatmaps(half_heatmaps(), half_image(8), rounds=-1)


@pytest.mark.parametrize("edge", [8, 11, 14])
def test_heatmaps_take_over_the_edge_of_the_image(edge: int) -> None:
    def misplaced(heatmaps: Heatmaps) -> int:
        return int(((heatmaps.values[0, 0] > 0.5) != (torch.arange(32) < edge)).sum())

    plain, sharp = half_heatmaps().resized(), sharpen_heatmaps(half_heatmaps(), half_image(edge))
    assert misplaced(plain) > 0 and misplaced(sharp) == 0
    assert sharp.values.shape == (1, 2, 32, 32) and sharp.kind == "share"
    assert torch.allclose(sharp.values.sum(dim=1), torch.tensor(1.0), atol=0.02)


def test_a_size_can_be_asked_for_and_the_guide_may_have_another() -> None:
    sharp = sharpen_heatmaps(half_heatmaps(), half_image(22, size=64), (16, 16))
    assert sharp.values.shape == (1, 2, 16, 16) and sharp.image_size == (32, 32)


def test_values_stay_in_the_range_they_had() -> None:
    heatmaps = Heatmaps(random(1, 2, 4, 4) * 900 - 300, CONCEPTS, "score", (32, 32))
    sharp = sharpen_heatmaps(heatmaps, random(1, 32, 32, 3), epsilon=1e-6)
    assert heatmaps.values.min() <= sharp.values.min() and sharp.values.max() <= heatmaps.values.max()


@pytest.mark.parametrize("rounds", [0, 2])
def test_shares_add_up_to_one_but_for_what_is_cut_off_at_the_range_of_all(rounds: int) -> None:
    concepts = tuple(Concept(name, name) for name in "abc")
    shares = resize_maps(random(3, 3, 3), (6, 6)).mul(2).softmax(dim=0)
    image = resize_maps(random(3, 4, 4, seed=1), (48, 48)).permute(1, 2, 0)
    sharp = sharpen_heatmaps(Heatmaps(shares[None], concepts, "share", (48, 48)), image[None], rounds=rounds).values[0]
    uncut = ((sharp > shares.min()) & (sharp < shares.max())).all(dim=0)
    assert float(uncut.float().mean()) > 0.5
    assert torch.allclose(sharp.sum(dim=0)[uncut], torch.tensor(1.0), atol=1e-5)
    assert shares.min() <= sharp.min() and sharp.max() <= shares.max()


def test_every_image_follows_its_own_guide_and_one_guide_serves_all() -> None:
    heatmaps = half_heatmaps(batch=2)
    pair = sharpen_heatmaps(heatmaps, torch.cat([half_image(8), half_image(14)])).values
    assert torch.equal(pair[:1], sharpen_heatmaps(half_heatmaps(), half_image(8)).values)
    assert torch.equal(pair[1:], sharpen_heatmaps(half_heatmaps(), half_image(14)).values)
    both = sharpen_heatmaps(heatmaps, half_image(14)).values
    assert torch.equal(both[0], both[1]) and torch.equal(both[1], pair[1])


def test_frames_of_videos_are_guided_video_by_video() -> None:
    guides = torch.cat([half_image(edge) for edge in (8, 10, 12, 14)])
    sharp = sharpen_heatmaps(half_heatmaps(frames=2, batch=2), guides).values
    assert sharp.shape == (2, 2, 2, 32, 32)
    single = sharpen_heatmaps(half_heatmaps(), guides[2:3]).values
    assert torch.equal(sharp[1, :, 0], single[0])


def test_another_number_or_aspect_of_guides_is_refused() -> None:
    with pytest.raises(UserError, match="Heatmaps of 2 images need a guide of as many images, or of one, got 3"):
        sharpen_heatmaps(half_heatmaps(batch=2), torch.zeros(3, 32, 32, 3))
    with pytest.raises(UserError, match="Heatmaps of 3 frames need"):
        sharpen_heatmaps(half_heatmaps(frames=3), torch.zeros(2, 32, 32, 3))
    with pytest.raises(UserError, match="a different aspect ratio"):
        sharpen_heatmaps(half_heatmaps(), torch.zeros(1, 32, 48, 3))


@pytest.mark.parametrize(
    ("radius", "shrink", "epsilon"), [(0, 1, 1e-3), (3, 0, 1e-3), (3, 1, 0.0), (3, 1, -1.0), (3, 1, float("nan"))]
)
def test_numbers_out_of_range_are_refused(radius: int, shrink: int, epsilon: float) -> None:
    with pytest.raises(UserError, match=f"got {radius}, {shrink} and {epsilon}"):
        guided_filter(random(8, 8), random(8, 8, 3), radius, epsilon, shrink)


def test_maps_larger_than_their_image_are_cut_off_before_they_are_guided() -> None:
    whole = half_heatmaps()
    height, width = whole.image_size
    cut = dataclasses.replace(whole, image_size=(height - 1, width - 1), covered_size=whole.image_size)
    inside = Heatmaps(whole.resized().values[..., :-1, :-1], whole.concepts, whole.kind, cut.image_size)
    images = [random(height - 1, width - 1, 3)]
    expected = sharpen_heatmaps(inside, images, radius=4, rounds=0)
    assert torch.equal(sharpen_heatmaps(cut, images, radius=4, rounds=0).values, expected.values)


def test_a_video_follows_the_edges_of_every_video_frame() -> None:
    video = dataclasses.replace(half_heatmaps(frames=2), frame_counts=(1, 2))
    guides = torch.cat([half_image(edge) for edge in (9, 12, 15)])
    found = sharpen_heatmaps(video, guides)
    assert found.values.shape == (1, 2, 3, 32, 32) and found.frame_counts is None
    assert torch.equal(found.values, sharpen_heatmaps(video.per_frame(), guides).values)
    kept = sharpen_heatmaps(video, guides[:2])
    assert kept.values.shape == (1, 2, 2, 32, 32) and kept.frame_counts == (1, 2)


def test_some_concepts_are_refined_as_all_are_and_in_their_order() -> None:
    """Nothing depends on the others."""
    concepts = (*CONCEPTS, Concept("third", "third"))
    shares, guide = random(1, 3, 6, 6).mul(4).softmax(dim=1), random(1, 48, 48, 3, seed=1)
    heatmaps = Heatmaps(shares, concepts, "share", (48, 48))
    some = sharpen_heatmaps(heatmaps, guide, concepts=["third", "left"])
    assert [concept.name for concept in some.concepts] == ["left", "third"]
    assert torch.equal(some.values, sharpen_heatmaps(heatmaps, guide).values[:, [0, 2]])
    scores = Heatmaps(shares, concepts, "score", (48, 48))
    alone = sharpen_heatmaps(scores, guide, concepts="third", rounds=0).values[0, 0]
    filtered = guided_filter(shares[0, 2], guide[0], 12, 1e-3, 2)
    assert torch.allclose(alone, filtered.clamp(*shares.aminmax()), atol=1e-6)
    with pytest.raises(UserError, match="left, right, third"):
        sharpen_heatmaps(heatmaps, guide, concepts="fourth")
