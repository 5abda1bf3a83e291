"""The viewer's numbers: every mean a person can choose, taken by hand from what is stored, is the heatmap of it."""

from __future__ import annotations

import dataclasses
import itertools
import math
from collections.abc import Sequence

import pytest
import torch
from torch import Tensor

from concept_attention.choices import Kind
from concept_attention.concepts import Concept
from concept_attention.heatmaps.heatmaps import Heatmaps, make_heatmaps
from concept_attention.viewer.maps import StoredMaps, ViewerMaps, maps_of_heatmaps, maps_of_recording, split_evenly

from ..support.recordings import MODE_NAMES, make_recording, naive_shares, naive_softmax

STEP = 1 / 65535  # between two neighbouring stored shares


def value(maps: StoredMaps, *place: int) -> float:
    return maps.offset + maps.scale * int(maps.stored[place])


def naive_map(maps: ViewerMaps, stored: StoredMaps, steps: Sequence[int], layers: Sequence[int]) -> Tensor:
    """One finished map (C, T, H, W) from the stored numbers of some S and L, token by token: what a browser does."""
    result = torch.zeros(stored.stored.shape[2:])
    concepts, *grid = result.shape
    cells = [(s, ell) for s in steps for ell in layers]
    weights = [len(maps.step_groups[s]) * len(maps.layer_groups[ell]) for s, ell in cells]
    for t, h, w in itertools.product(*map(range, grid)):
        means = []
        for c in range(concepts):
            total = sum(
                weight * value(stored, s, ell, c, t, h, w) for (s, ell), weight in zip(cells, weights, strict=True)
            )
            means.append(total / sum(weights))
        if maps.average == "softmax":
            means = naive_softmax([mean / maps.temperature for mean in means])
        result[:, t, h, w] = torch.tensor(means)
    return result


def tolerance(maps: ViewerMaps, stored: StoredMaps) -> float:
    """Half a stored step, and what float32 rounds; through a softmax, at most half of it in units of temperature."""
    span = stored.scale / maps.temperature / 2 if maps.average == "softmax" else stored.scale
    return span / 2 + 2e-6


@pytest.mark.parametrize("grid", [(1, 3, 5), (3, 2, 4)])
@pytest.mark.parametrize("mode", MODE_NAMES)
def test_means_of_what_is_stored_are_the_heatmaps(mode: str, grid: tuple[int, int, int]) -> None:
    recording = make_recording(mode, grid)
    maps = maps_of_recording(recording)
    assert maps.average == ("softmax" if mode == "flux2" else "values") and maps.kind == "share"
    temperature = 1000.0 if mode == "flux2" else 1.0
    for steps, layers in (([0, 1, 2], [0, 1, 2, 3]), ([1], [3]), ([0, 2], [1, 2])):
        expected = naive_shares(recording, mode, steps, layers, temperature)
        for image in range(2):
            stored = maps.of_image(image)
            got = naive_map(maps, stored, steps, layers)
            torch.testing.assert_close(got, expected[image], rtol=0, atol=tolerance(maps, stored))


def test_another_mode_and_temperature_are_stored_as_they_are_read() -> None:
    recording = make_recording("flux")
    maps = maps_of_recording(recording, "flux2", 3.0)
    assert (maps.average, maps.temperature) == ("softmax", 3.0)
    stored = maps.of_image(1)
    expected = make_heatmaps(recording, "5,6", "0-1", "flux2", 3.0).values[1]
    got = naive_map(maps, stored, [0, 1], [1, 2])[:, 0]
    torch.testing.assert_close(got, expected, rtol=0, atol=tolerance(maps, stored))
    assert float((expected - make_heatmaps(recording, "5,6", "0-1").values[1]).abs().max()) > 0.01


def test_shares_use_all_levels_from_0_to_1() -> None:
    maps = maps_of_recording(make_recording())
    stored = maps.of_image(0)
    assert (stored.offset, stored.scale) == (0.0, STEP)
    assert stored.stored.dtype == "<u2" and stored.stored.shape == (3, 4, 3, 1, 3, 5)


def test_a_recording_says_what_its_steps_and_layers_are() -> None:
    recording = make_recording(layers=(2, 5, 7), default_layers=(4, 5, 6, 7))
    maps = maps_of_recording(dataclasses.replace(recording, image_size=(40, 80), covered_size=(48, 80)))
    assert maps.step_groups == ((0,), (1,), (2,)) and maps.layer_groups == ((2,), (5,), (7,))
    assert maps.steps == (4, 5, 6) and maps.sigmas == recording.sigmas
    assert maps.default_layers == (5, 7) and maps.grid == (1, 3, 5)
    assert maps.visible == (40 / 48, 1.0) and maps.image_size == (40, 80) and maps.batch == 2


MAP_BYTES = 3 * 15 * 2


@pytest.mark.parametrize(
    ("most", "step_groups", "layer_groups"),
    [
        (28, ((0,), (1,), (2,), (3,), (4,), (5,), (6,)), ((2,), (5,), (6,), (7,))),
        (27, ((0,), (1,), (2,), (3,), (4,), (5, 6)), ((2,), (5,), (6,), (7,))),
        (12, ((0, 1), (2, 3), (4, 5, 6)), ((2,), (5,), (6,), (7,))),
        (4, ((0, 1, 2, 3, 4, 5, 6),), ((2,), (5,), (6,), (7,))),
        (3, ((0, 1, 2, 3, 4, 5, 6),), ((2,), (5,), (6, 7))),
        (0, ((0, 1, 2, 3, 4, 5, 6),), ((2, 5, 6, 7),)),
    ],
)
@pytest.mark.parametrize("mode", ["flux", "flux2"])
def test_too_many_maps_are_joined_and_their_weighted_means_stay_exact(
    mode: str, most: int, step_groups: tuple[tuple[int, ...], ...], layer_groups: tuple[tuple[int, ...], ...]
) -> None:
    recording = make_recording(mode, steps=7)
    maps = maps_of_recording(recording, image_limit=most * MAP_BYTES)
    assert maps.step_groups == step_groups and maps.layer_groups == layer_groups
    stored = maps.of_image(1)
    assert stored.stored.nbytes <= max(1, most) * MAP_BYTES
    everything = naive_map(maps, stored, range(len(maps.step_groups)), range(len(maps.layer_groups)))
    expected = make_heatmaps(recording, "all").values[1]
    torch.testing.assert_close(everything[:, 0], expected, rtol=0, atol=tolerance(maps, stored))
    one = naive_map(maps, stored, [0], [len(maps.layer_groups) - 1])
    expected = make_heatmaps(recording, maps.layer_groups[-1], maps.step_groups[0]).values[1]
    torch.testing.assert_close(one[:, 0], expected, rtol=0, atol=tolerance(maps, stored))


def test_all_images_of_a_large_batch_have_a_limit_together() -> None:
    recording = make_recording(batch=3)
    assert len(maps_of_recording(recording, run_limit=3 * 12 * MAP_BYTES).step_groups) == 3
    assert len(maps_of_recording(recording, run_limit=3 * 12 * MAP_BYTES - 1).step_groups) == 2


@pytest.mark.parametrize("count", [1, 2, 7, 28])
def test_groups_are_neighbours_of_nearly_one_size(count: int) -> None:
    for most in range(1, 30):
        groups = split_evenly(range(count), most)
        assert sum(groups, ()) == tuple(range(count)) and len(groups) == min(most, count)
        sizes = {len(group) for group in groups}
        assert max(sizes) - min(sizes) <= 1


@pytest.mark.parametrize("frames", [1, 2])
@pytest.mark.parametrize("kind", ["share", "stretched", "score"])
def test_finished_heatmaps_are_one_step_and_one_layer(kind: Kind, frames: int) -> None:
    heatmaps = make_heatmaps(make_recording(grid=(frames, 3, 5)), kind=kind)
    maps = maps_of_heatmaps(heatmaps)
    assert (maps.kind, maps.average) == (kind, "values") and maps.grid == (frames, 3, 5)
    assert maps.step_groups == maps.layer_groups == maps.steps == maps.sigmas == maps.default_layers == ()
    for image in range(2):
        stored = maps.of_image(image)
        assert stored.stored.shape == (1, 1, 3, frames, 3, 5)
        if kind != "score":
            assert (stored.offset, stored.scale) == (0.0, STEP)
        for place in itertools.product(range(3), range(frames), range(3), range(5)):
            expected = heatmaps.values[(image, *place)] if frames > 1 else heatmaps.values[image, place[0]][place[2:]]
            assert abs(value(stored, 0, 0, *place) - float(expected)) <= stored.scale / 2 + 1e-6


def test_a_flat_map_is_stored_and_comes_back() -> None:
    flat = Heatmaps(torch.full((1, 1, 2, 2), -7.5), (Concept("sky", "sky"),), "score", (32, 32))
    stored = maps_of_heatmaps(flat).of_image(0)
    assert stored.scale > 0 and value(stored, 0, 0, 0, 0, 0, 0) == -7.5


def test_scores_of_absurd_size_are_stored_as_finite_numbers() -> None:
    recording = make_recording("flux2")
    stored = maps_of_recording(dataclasses.replace(recording, scores=recording.scores * 1e33)).of_image(0)
    assert math.isfinite(stored.offset) and math.isfinite(stored.scale)


def test_what_cannot_be_read_is_refused() -> None:
    with pytest.raises(ValueError, match="Temperature must lie in"):
        maps_of_recording(make_recording(), temperature=-1.0)
    with pytest.raises(ValueError, match="Mode paper cannot be read"):
        maps_of_recording(make_recording(), "paper")
