"""Maps: resizing puts edges where they belong, blur is the Gaussian written out, flat maps are recognised."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from concept_attention.errors import UserError
from concept_attention.heatmaps.resize import (
    gaussian_blur,
    is_flat,
    latent_frame_indices,
    repeat_frames,
    resize_maps,
    stretch,
    visible_share,
)


def naive_bilinear(plane: Tensor, height: int, width: int) -> Tensor:
    """Enlarging with half-pixel centres, one pixel at a time."""
    rows, columns = plane.shape
    result = torch.zeros(height, width)
    for i in range(height):
        for j in range(width):
            y = min(max((i + 0.5) * rows / height - 0.5, 0.0), rows - 1.0)
            x = min(max((j + 0.5) * columns / width - 0.5, 0.0), columns - 1.0)
            top, left = int(y), int(x)
            bottom, right = min(top + 1, rows - 1), min(left + 1, columns - 1)
            down, over = y - top, x - left
            result[i, j] = (1 - down) * ((1 - over) * plane[top, left] + over * plane[top, right]) + down * (
                (1 - over) * plane[bottom, left] + over * plane[bottom, right]
            )
    return result


def naive_blur(plane: Tensor, sigma: float, radius: int, reflect: bool) -> Tensor:
    def outside(i: int, count: int) -> int:
        if reflect:
            return -i if i < 0 else 2 * (count - 1) - i if i >= count else i
        return min(max(i, 0), count - 1)

    rows, columns = plane.shape
    result = torch.zeros(rows, columns, dtype=torch.float64)
    for i in range(rows):
        for j in range(columns):
            total = weights = 0.0
            for dy in range(-radius, radius + 1):
                for dx in range(-radius, radius + 1):
                    weight = math.exp(-(dy * dy + dx * dx) / (2 * sigma * sigma))
                    total += weight * float(plane[outside(i + dy, rows), outside(j + dx, columns)])
                    weights += weight
            result[i, j] = total / weights
    return result.float()


@pytest.mark.parametrize("size", [(10, 14), (7, 7), (5, 21)])
def test_enlarging_is_bilinear_with_half_pixel_centres(size: tuple[int, int]) -> None:
    values = torch.randn(2, 3, 5, 7, generator=torch.Generator().manual_seed(1))
    resized = resize_maps(values, size)
    for b in range(2):
        for c in range(3):
            torch.testing.assert_close(resized[b, c], naive_bilinear(values[b, c], *size))


def test_a_video_is_resized_frame_by_frame() -> None:
    values = torch.randn(2, 3, 4, 5, 7, generator=torch.Generator().manual_seed(2))
    resized = resize_maps(values, (10, 14))
    assert resized.shape == (2, 3, 4, 10, 14)
    torch.testing.assert_close(resized[1, 2, 3], naive_bilinear(values[1, 2, 3], 10, 14))


@pytest.mark.parametrize("edge", [1, 3, 6])
def test_edges_stay_within_half_a_pixel_at_sixteen_fold(edge: int) -> None:
    values = torch.zeros(1, 1, 8, 12)
    values[..., edge:] = 1
    row = resize_maps(values, (128, 192))[0, 0, 64]
    crossing = int((row < 0.5).sum())  # pixels left of the edge
    assert abs(crossing - 16 * edge) <= 0.5
    column = resize_maps(values.transpose(2, 3), (192, 128))[0, 0, :, 64]
    assert abs(int((column < 0.5).sum()) - 16 * edge) <= 0.5


def test_a_mirrored_map_resizes_to_the_mirror_image() -> None:
    values = torch.randn(1, 6, 9, generator=torch.Generator().manual_seed(3))
    mirrored = resize_maps(values, (96, 144)).flip(-1)
    torch.testing.assert_close(resize_maps(values.flip(-1), (96, 144)), mirrored)


def test_shrinking_averages_over_the_area() -> None:
    checkers = (torch.arange(64)[:, None] + torch.arange(64)) % 2
    shrunk = resize_maps(checkers.float()[None], (8, 8))
    torch.testing.assert_close(shrunk[:, 1:-1, 1:-1], torch.full((1, 6, 6), 0.5), atol=1e-3, rtol=0)


def shrunk_by_hand(row: list[float], size: int) -> list[float]:
    """Every sample is the mean of its neighbourhood, weighted by a triangle as wide as two of the new samples."""
    scale = len(row) / size
    result = []
    for index in range(size):
        centre = (index + 0.5) * scale
        weights = [max(0.0, 1 - abs(place + 0.5 - centre) / scale) for place in range(len(row))]
        result.append(sum(weight * value for weight, value in zip(weights, row, strict=True)) / sum(weights))
    return result


@pytest.mark.parametrize("size", [2, 3, 5])
def test_shrinking_leaves_out_no_token(size: int) -> None:
    for place in range(16):
        row = [float(index == place) for index in range(16)]
        shrunk = resize_maps(torch.tensor(row).expand(1, 4, 16), (4, size))
        assert shrunk[0, 0].tolist() == pytest.approx(shrunk_by_hand(row, size), abs=1e-6)
        assert shrunk.sum() > 0


def test_the_same_size_returns_the_same_map() -> None:
    values = torch.randn(1, 4, 6)
    assert resize_maps(values, (4, 6)) is values


@pytest.mark.parametrize("edge", [1, 3, 7])
@pytest.mark.parametrize("size", [(120, 184), (60, 92), (240, 368)])
def test_a_map_larger_than_its_image_is_cut_off_and_not_squeezed(edge: int, size: tuple[int, int]) -> None:
    """Tokens of 16 pixels; the last row and column lie half outside of an image of 120 x 184."""
    values = torch.zeros(1, 1, 8, 12)
    values[..., edge:] = 1
    visible = (120 / 128, 184 / 192)
    pixels = 16 * size[1] / 184  # per token
    resized = resize_maps(values, size, visible)
    assert resized.shape == (1, 1, *size)
    assert abs(int((resized[0, 0, 5] < 0.5).sum()) - pixels * edge) <= 0.5
    turned = resize_maps(values.transpose(2, 3), (size[1], size[0]), (visible[1], visible[0]))
    torch.testing.assert_close(turned.transpose(2, 3), resized)
    squeezed = int((resize_maps(values, size)[0, 0, 5] < 0.5).sum())
    assert edge < 7 or abs(squeezed - pixels * edge) > 0.5


def test_a_map_with_one_sample_per_pixel_is_cut_off_as_it_is() -> None:
    values = torch.randn(2, 8, 12)
    assert torch.equal(resize_maps(values, (7, 12), (7 / 8, 1.0)), values[:, :7])


def test_the_visible_share_is_the_image_s_of_what_the_maps_cover() -> None:
    assert visible_share((90, 200), (120, 250)) == (0.75, 0.8)
    assert visible_share((90, 200), None) == (1, 1)


@pytest.mark.parametrize("visible", [(0.0, 1.0), (1.0, 1.5), (float("nan"), 1.0)])
def test_a_share_that_is_none_is_refused(visible: tuple[float, float]) -> None:
    with pytest.raises(ValueError, match="visible fractions"):
        resize_maps(torch.zeros(1, 2, 2), (4, 4), visible)


@pytest.mark.parametrize("size", [(0, 4), (4, -1), (4.0, 4), (4,), (4, 4, 4)])
def test_a_size_that_is_none_is_refused(size: tuple[int, int]) -> None:
    with pytest.raises(UserError, match="two positive integers"):
        resize_maps(torch.zeros(1, 2, 2), size)


def test_blur_is_the_gaussian_written_out() -> None:
    plane = torch.rand(9, 12, generator=torch.Generator().manual_seed(4))
    torch.testing.assert_close(gaussian_blur(plane, 1.3), naive_blur(plane, 1.3, 4, reflect=False))
    torch.testing.assert_close(
        gaussian_blur(plane, 1, radius=1, padding="reflect"), naive_blur(plane, 1, 1, reflect=True)
    )
    other = plane.flip(0)
    batch = torch.stack([plane, other])[:, None]
    torch.testing.assert_close(gaussian_blur(batch, 1.3)[1, 0], naive_blur(other, 1.3, 4, reflect=False))


def test_no_blur_and_a_single_pixel_are_allowed() -> None:
    values = torch.randn(2, 3, 4)
    assert torch.equal(gaussian_blur(values, 0), values)
    assert torch.allclose(resize_maps(torch.full((3, 4), 0.3), (1, 1)), torch.tensor(0.3))


def test_blur_wider_than_the_map_keeps_the_range() -> None:
    eye = torch.eye(4)
    torch.testing.assert_close(gaussian_blur(eye, 3.0), naive_blur(eye, 3.0, 9, reflect=False))
    torch.testing.assert_close(gaussian_blur(torch.ones(4, 4), 20.0), torch.ones(4, 4))


@pytest.mark.parametrize("sigma", [-1.0, math.nan, math.inf])
def test_a_blur_that_is_none_is_refused(sigma: float) -> None:
    with pytest.raises(UserError, match="Blur"):
        gaussian_blur(torch.ones(2, 2), sigma)


def test_stretch_spans_zero_to_one() -> None:
    values = torch.tensor([[-3.0, 1.0], [5.0, 3.0]])
    torch.testing.assert_close(stretch(values), torch.tensor([[0.0, 0.5], [1.0, 0.75]]))


@pytest.mark.parametrize("level", [0.0, 1 / 3, -250.0])
def test_a_map_that_differs_by_rounding_only_is_flat(level: float) -> None:
    values = torch.full((4, 4), level)
    values[1, 1] *= 1 + 2e-7
    assert is_flat(values)
    assert torch.equal(stretch(values), torch.zeros(4, 4))


def test_a_faint_map_is_not_flat() -> None:
    values = torch.full((4, 4), 1e-9)
    values[2, 2] = 2e-9
    assert not is_flat(values)
    assert float(stretch(values)[2, 2]) == 1.0


def test_frames_are_repeated_for_the_video_frames_they_stand_for() -> None:
    """Thirteen latent frames of a causal video VAE are 49 video frames: the first one, then four each."""
    known = torch.arange(13.0)[None, :, None, None].expand(2, 13, 1, 1)
    found = repeat_frames(known, (1, *[4] * 12))
    assert found.shape == (2, 49, 1, 1)
    assert found[1].flatten().tolist() == [math.ceil(frame / 4) for frame in range(49)]
    assert latent_frame_indices((1, *[4] * 12)) == tuple(found[1].flatten().tolist())
    assert repeat_frames(known, None) is known
