"""Masks against loops, where edges and absences lie, and what flat maps, ties and single concepts give."""

from __future__ import annotations

import dataclasses
import math
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from concept_attention.choices import Kind, Method
from concept_attention.concepts import Concept
from concept_attention.errors import UserError
from concept_attention.heatmaps.heatmaps import Heatmaps
from concept_attention.heatmaps.masks import make_masks, otsu_level

CONCEPTS = (Concept("sky", "sky"), Concept("house", "house"), Concept("wall", "wall", "background"))
METHODS: tuple[Method, ...] = ("soft", "threshold", "argmax", "mean", "otsu", "percentile")
RELATIVE: tuple[Method, ...] = ("mean", "otsu", "percentile")


def heatmaps_of(values: Tensor, kind: Kind = "share", factor: int = 1) -> Heatmaps:
    height, width = values.shape[-2:]
    return Heatmaps(values, CONCEPTS[: values.shape[1]], kind, (factor * height, factor * width))


def random_shares(seed: int = 0, shape: tuple[int, ...] = (2, 3, 6, 9)) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed)).mul(2).softmax(dim=1)


def naive_otsu_level(values: list[float]) -> float:
    """The split with the least variance within its two classes, every split tried from scratch."""
    best, level = math.inf, math.nan
    for candidate in sorted(set(values))[:-1]:
        classes = [[v for v in values if v <= candidate], [v for v in values if v > candidate]]
        within = sum(len(one) * float(np.var(one)) for one in classes)
        if within < best:
            best, level = within, candidate
    return level


def naive_mask(image: Tensor, chosen: list[int], method: str, threshold: float, percentile: float) -> Tensor:
    """One image (C, H, W) at its own size, pixel by pixel."""
    concepts, height, width = image.shape
    together = [[sum(float(image[c, i, j]) for c in chosen) for j in range(width)] for i in range(height)]
    values = [value for row in together for value in row]
    level = {
        "threshold": threshold,
        "mean": sum(values) / len(values),
        "otsu": naive_otsu_level(values) if method == "otsu" else 0.0,
        "percentile": float(np.percentile(values, percentile)),
    }.get(method, 0.0)
    mask = torch.zeros(height, width)
    for i in range(height):
        for j in range(width):
            value = together[i][j]
            if method == "soft":
                mask[i, j] = value
            elif method == "argmax":
                mask[i, j] = max(range(concepts), key=lambda c: float(image[c, i, j])) in chosen
            elif method == "percentile":
                mask[i, j] = value >= level - 1e-6
            else:
                mask[i, j] = value > level
    return mask


@pytest.mark.parametrize("names", [["house"], ["sky"], ["house", "sky"]])
@pytest.mark.parametrize("method", METHODS)
def test_masks_are_what_the_rule_says_pixel_by_pixel(method: Method, names: list[str]) -> None:
    heatmaps = heatmaps_of(random_shares())
    masks = make_masks(heatmaps, names, method, threshold=0.4, percentile=75)
    chosen = [heatmaps.index(name) for name in names]
    for image, mask in zip(heatmaps.values, masks, strict=True):
        torch.testing.assert_close(mask, naive_mask(image, chosen, method, 0.4, 75))


@pytest.mark.parametrize("method", RELATIVE)
def test_relative_methods_take_scores_of_any_scale(method: Method) -> None:
    shares = random_shares(1)
    plain = make_masks(heatmaps_of(shares), "sky", method)
    assert torch.equal(make_masks(heatmaps_of(shares * 1024 - 512, "score"), "sky", method), plain)
    assert 0 < float(plain.mean()) < 1


@pytest.mark.parametrize("method", ["soft", "threshold", "argmax"])
@pytest.mark.parametrize("kind", ["score", "stretched"])
def test_absolute_methods_refuse_anything_but_shares(kind: Kind, method: Method) -> None:
    with pytest.raises(UserError, match=f"method {method} needs heatmaps of kind share or presence, got kind {kind}"):
        make_masks(heatmaps_of(random_shares(), kind), "sky", method)


@pytest.mark.parametrize("method", METHODS)
def test_masks_are_floats_in_range_at_the_images_size(method: Method) -> None:
    heatmaps = heatmaps_of(random_shares(), factor=16)
    masks = make_masks(heatmaps, "sky", method, blur=2.5)
    assert masks.shape == (2, 96, 144) and masks.dtype == torch.float32
    assert float(masks.min()) >= 0 and float(masks.max()) <= 1
    assert make_masks(heatmaps, "sky", method, size=(40, 33)).shape == (2, 40, 33)


@pytest.mark.parametrize("method", METHODS)
def test_a_video_is_one_image_with_frames(method: Method) -> None:
    values = random_shares(2, (2, 3, 4, 3, 5))
    masks = make_masks(heatmaps_of(values), "house", method)
    assert masks.shape == (2, 4, 3, 5)
    one_image = make_masks(heatmaps_of(values.flatten(2, 3)), "house", method)  # frames below each other
    assert torch.equal(masks.flatten(1, 2), one_image)


@pytest.mark.parametrize("method", METHODS)
def test_images_of_a_batch_do_not_influence_each_other(method: Method) -> None:
    values = random_shares(3)
    together = make_masks(heatmaps_of(values), "sky", method)
    for image in range(2):
        alone = make_masks(heatmaps_of(values[image : image + 1]), "sky", method)
        assert torch.equal(together[image], alone[0])


@pytest.mark.parametrize("method", ["threshold", "argmax", "mean", "otsu"])
def test_edges_of_hard_masks_lie_where_the_tokens_meet(method: Method) -> None:
    shares = torch.zeros(1, 2, 8, 12)
    shares[:, 0, :, 6:], shares[:, 1, :, :6] = 1, 1
    mask = make_masks(heatmaps_of(shares, factor=16), "sky", method)[0]
    assert abs(int((mask[64] == 0).sum()) - 16 * 6) <= 0.5


@pytest.mark.parametrize("method", METHODS)
def test_masks_of_maps_larger_than_their_image_are_cut_off(method: Method) -> None:
    shares = random_shares(seed=5)
    whole = heatmaps_of(shares, factor=16)
    cut = dataclasses.replace(whole, image_size=(88, 136), covered_size=whole.image_size)
    inside = whole.resized().values[..., :88, :136]
    expected = make_masks(Heatmaps(inside, CONCEPTS, "share", (88, 136)), "house", method)
    assert torch.equal(make_masks(cut, "house", method), expected)


def test_several_concepts_are_summed_before_the_threshold() -> None:
    shares = torch.tensor([0.3, 0.3, 0.4]).reshape(1, 3, 1, 1).expand(1, 3, 2, 2).clone()
    heatmaps = heatmaps_of(shares)
    assert float(make_masks(heatmaps, "sky", "threshold").max()) == 0
    assert float(make_masks(heatmaps, ["sky", "house"], "threshold").min()) == 1
    torch.testing.assert_close(make_masks(heatmaps, ["sky", "house", "sky"]), torch.full((1, 2, 2), 0.6))
    assert float(make_masks(heatmaps, ["sky", "house"], "argmax").max()) == 0  # neither beats the wall


def test_masks_are_empty_for_absent_concepts() -> None:
    shares = torch.full((1, 3, 4, 6), 0.05)
    shares[:, 0, :2], shares[:, 2, 2:] = 0.9, 0.9
    heatmaps = heatmaps_of(shares, factor=16)
    assert float(make_masks(heatmaps, "house", "argmax").sum()) == 0
    assert float(make_masks(heatmaps, "house").max()) == pytest.approx(0.05)


def test_a_background_concept_competes() -> None:
    shares = torch.tensor([0.4, 0.1, 0.5]).reshape(1, 3, 1, 1).expand(1, 3, 2, 2).clone()
    assert float(make_masks(heatmaps_of(shares), "sky", "argmax").max()) == 0
    assert float(make_masks(heatmaps_of(shares), "wall", "argmax").min()) == 1


def test_nobody_wins_a_tie_so_order_does_not_matter() -> None:
    shares = torch.tensor([[0.5, 0.6], [0.5, 0.4]]).reshape(1, 2, 1, 2)
    for values, first, second in ((shares, "sky", "house"), (shares.flip(1), "house", "sky")):
        heatmaps = heatmaps_of(values)
        assert torch.equal(make_masks(heatmaps, first, "argmax"), torch.tensor([[[0.0, 1.0]]]))
        assert torch.equal(make_masks(heatmaps, second, "argmax"), torch.tensor([[[0.0, 0.0]]]))
        assert torch.equal(make_masks(heatmaps, [first, second], "argmax"), torch.ones(1, 1, 2))


@pytest.mark.parametrize("method", RELATIVE)
@pytest.mark.parametrize("level", [0.0, 1 / 3, 1.0])
def test_a_flat_map_gives_an_empty_mask(method: Method, level: float) -> None:
    shares = torch.full((1, 3, 5, 7), level)
    shares[0, 0, 2, 2] *= 1 + 1e-7  # what rounding leaves
    assert float(make_masks(heatmaps_of(shares, factor=16), "sky", method).sum()) == 0


@pytest.mark.parametrize("method", RELATIVE)
def test_a_flat_image_beside_another_is_empty_alone(method: Method) -> None:
    shares = torch.cat([torch.full((1, 3, 6, 9), 1 / 3), random_shares(4)[:1]])
    masks = make_masks(heatmaps_of(shares), "sky", method)
    assert float(masks[0].sum()) == 0 < float(masks[1].sum())


def test_one_concept_alone_is_everywhere_and_nothing_stands_out() -> None:
    heatmaps = heatmaps_of(torch.ones(1, 1, 4, 6), factor=8)
    for method in ("soft", "threshold", "argmax"):
        torch.testing.assert_close(make_masks(heatmaps, "sky", method), torch.ones(1, 32, 48))
    for method in RELATIVE:
        assert float(make_masks(heatmaps, "sky", method).sum()) == 0


def test_percentile_keeps_plateaus_at_the_top_and_drops_those_at_the_bottom() -> None:
    half = torch.zeros(1, 2, 4, 10)
    half[..., :5] = 1
    few = torch.zeros(1, 2, 4, 10)
    few[..., :1] = torch.tensor([0.2, 0.4, 0.6, 0.8])[:, None]

    def mask(shares: Tensor, percentile: float) -> Tensor:
        return make_masks(heatmaps_of(shares), "sky", "percentile", percentile=percentile)[0]

    assert torch.equal(mask(half, 90), half[0, 0])
    assert torch.equal(mask(few, 50), (few[0, 0] > 0).float())
    assert int(mask(few, 100).sum()) == 1


def test_a_share_at_the_threshold_is_not_above_it() -> None:
    heatmaps = heatmaps_of(torch.tensor([[[[0.25, 0.5, 0.75]], [[0.75, 0.5, 0.25]]]]))
    assert make_masks(heatmaps, "sky", "threshold", threshold=0.5)[0].tolist() == [[0, 0, 1]]


def test_percentiles_may_be_at_either_end_and_are_90_by_default() -> None:
    heatmaps = heatmaps_of(random_shares())
    assert torch.equal(
        make_masks(heatmaps, "house", "percentile"), make_masks(heatmaps, "house", "percentile", percentile=90)
    )
    kept = [int(make_masks(heatmaps, "house", "percentile", percentile=end)[0].sum()) for end in (0, 0.5, 100)]
    assert kept == [6 * 9 - 1, 6 * 9 - 1, 1]  # the least share never counts


@pytest.mark.parametrize("seed", [4, 5])
def test_otsu_finds_a_small_bright_part(seed: int) -> None:
    """The sum below a split, which the variance weighs, would split in the middle of the many."""
    generator = torch.Generator().manual_seed(seed)
    values = torch.cat([0.1 * torch.randn(95, generator=generator), 1 + 0.1 * torch.randn(5, generator=generator)])
    assert otsu_level(values) == naive_otsu_level(values.tolist())


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_otsu_finds_the_best_of_all_splits(seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    values = torch.cat([torch.randn(40, generator=generator), 4 + torch.randn(25, generator=generator)])
    values = (values * 4).round() / 4  # with ties
    assert otsu_level(values) == naive_otsu_level(values.tolist())
    assert otsu_level(1e6 + values) == 1e6 + naive_otsu_level(values.tolist())


@pytest.mark.parametrize("seed", range(6))
def test_otsu_is_exact_where_values_crowd_in_few_bins(seed: int) -> None:
    """An offset or an outlier puts nearly all values into one bin of any histogram."""
    generator = torch.Generator().manual_seed(seed)
    values = torch.randn(60, generator=generator) * 1e-5 + 100 * seed
    if seed % 2:
        values[0] += 1e3
    assert otsu_level(values) == naive_otsu_level(values.tolist())


@pytest.mark.parametrize("seed", range(3))
def test_otsu_finds_the_best_split_within_a_bin(seed: int) -> None:
    """Of as many values as a large image has, each bin of the histogram holds many."""
    generator = torch.Generator().manual_seed(seed)
    skewed = torch.rand(40_000, generator=generator).log().neg()
    values = skewed if seed == 0 else torch.cat([skewed, seed + 0.5 * torch.randn(20_000, generator=generator)])
    ordered = np.sort(values.double().numpy())
    below = np.arange(1, len(ordered))
    totals = (ordered - ordered.mean()).cumsum()[:-1]
    between = totals**2 / (below * (len(ordered) - below))
    found = np.searchsorted(ordered, otsu_level(values), "right") - 1
    assert between[found] >= between.max() * (1 - 1e-12)


def test_otsu_splits_the_smallest_map_there_is() -> None:
    assert otsu_level(torch.tensor([0.25, 0.75])) == 0.25


def test_blur_comes_after_the_threshold() -> None:
    shares = torch.zeros(1, 2, 9, 9)
    shares[0, 0, 4, 4] = 1
    shares[0, 1] = 1 - shares[0, 0]
    mask = make_masks(heatmaps_of(shares), "sky", "argmax", blur=1.0)[0]
    weights = [math.exp(-offset * offset / 2) for offset in range(-3, 4)]
    expected = torch.tensor(weights) / sum(weights)
    torch.testing.assert_close(mask[4, 1:8], expected * expected[3])
    torch.testing.assert_close(mask.sum(), torch.tensor(1.0))


@pytest.mark.parametrize(
    ("choice", "message"),
    [
        ({"concepts": "moon"}, "moon"),
        ({"concepts": []}, "Name at least one of sky, house, wall"),
        ({"method": "magic"}, "Mask method 'magic' does not exist. Choose one of soft, threshold"),
        ({"threshold": 1.5}, "threshold"),
        ({"threshold": math.nan}, "threshold"),
        ({"percentile": -1.0}, "percentile"),
        ({"blur": -1.0}, "Blur"),
        ({"size": (0, 5)}, "two positive integers"),
    ],
)
def test_a_choice_that_cannot_be_made_is_an_error(choice: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        make_masks(heatmaps_of(random_shares()), **{"concepts": "sky", **choice})


@pytest.mark.parametrize("method", METHODS)
def test_each_video_frame_has_the_mask_of_its_latent_frame(method: Method) -> None:
    video = dataclasses.replace(heatmaps_of(random_shares(shape=(2, 3, 3, 4, 5))), frame_counts=(1, 4, 4))
    latent = make_masks(video, "house", method, size=(9, 8), blur=1)
    frames = make_masks(video, "house", method, size=(9, 8), blur=1, per_frame=True)
    assert latent.shape == (2, 3, 9, 8) and frames.shape == (2, 9, 9, 8)
    for frame, latent_frame in enumerate(video.frames):
        assert torch.equal(frames[:, frame], latent[:, latent_frame])
    image = heatmaps_of(random_shares())
    assert torch.equal(make_masks(image, "house", method, per_frame=True), make_masks(image, "house", method))


def test_several_concepts_that_are_present_in_one_place_are_no_more_than_present() -> None:
    """Presence does not add up: a boat that is also a yellow boat is there once."""
    maps = heatmaps_of(torch.tensor([[[[0.9, 0.1]], [[0.8, 0.7]], [[0.2, 0.0]]]]), "presence")
    names = [concept.name for concept in maps.concepts[:2]]
    together = make_masks(maps, names, size=(1, 2))
    torch.testing.assert_close(together, torch.tensor([[[0.9, 0.7]]]))
    assert make_masks(maps, names[0], "threshold", size=(1, 2)).tolist() == [[[1.0, 0.0]]]
