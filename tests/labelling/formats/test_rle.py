"""Run lengths against pycocotools, and outlines against what pycocotools fills."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.ndimage import binary_dilation

from concept_attention.heatmaps.resize import resize_maps
from concept_attention.labelling.formats.polygons import outlines
from concept_attention.labelling.formats.rle import encode_rle

mask_tools = pytest.importorskip("pycocotools.mask")


def random_masks(count: int) -> list[np.ndarray]:
    """Masks as heatmaps make them, (H, W) uint8: every second one is soft."""
    random = torch.Generator().manual_seed(0)
    found = []
    for number in range(count):
        height, width, rows, columns = (
            int(torch.randint(low, high, (1,), generator=random)) for low, high in ((3, 150), (3, 150), (2, 9), (2, 9))
        )
        values = resize_maps(torch.rand(rows, columns, generator=random), (height, width))
        found.append((255 * ((values > 0.5).float() if number % 2 else values)).byte().numpy())
    return found


def test_run_lengths_are_those_of_pycocotools() -> None:
    edge_cases = [np.zeros((3, 4), bool), np.ones((3, 4), bool), np.eye(90, dtype=bool)]
    for inside in [*edge_cases, *(mask >= 128 for mask in random_masks(60))]:
        expected = mask_tools.encode(np.asfortranarray(inside.astype(np.uint8)))
        found = encode_rle(inside)
        assert (found["counts"], found["size"]) == (expected["counts"].decode(), expected["size"])


def test_outlines_fill_what_they_outline() -> None:
    """But for pixels along the border of a region, which a polygon cuts."""
    for mask in random_masks(60):
        inside = mask >= 128
        polygons = [polygon.ravel().tolist() for polygon in outlines(mask)]
        if not polygons:
            assert not inside.any()
            continue
        filled = mask_tools.decode(mask_tools.merge(mask_tools.frPyObjects(polygons, *mask.shape))).astype(bool)
        around = np.ones((3, 3), bool)
        border = binary_dilation(inside, around) & binary_dilation(~inside, around)
        assert not ((filled != inside) & ~border).any()


def test_an_empty_mask_has_no_outline_and_a_full_one_goes_along_the_border() -> None:
    assert outlines(np.zeros((4, 6), np.uint8)) == []
    (whole,) = outlines(np.full((40, 60), 255, np.uint8))
    assert whole.min() == 0 and whole.max() == 60
    x, y = whole.T
    area = abs((x * np.roll(y, 1) - y * np.roll(x, 1)).sum()) / 2
    assert area == pytest.approx(2400, rel=0.001)
