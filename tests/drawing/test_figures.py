"""The layer x step figure, against tiles coloured one by one, and what drawing leaves behind."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import matplotlib
import pytest
import torch

from concept_attention.drawing.colormaps import colorize
from concept_attention.drawing.figures import layer_step_figure
from concept_attention.errors import UserError
from concept_attention.recording.recording import Recording

from ..support.recordings import make_recording

ROOT = Path(__file__).resolve().parents[2]
NAMES = ["tree", "$5 bill_$", "山水", "a very long name " * 9]


def _recording(
    steps: int, layers: tuple[int, ...], grid: tuple[int, int, int] = (1, 2, 3), names: Sequence[str] = NAMES
) -> Recording:
    names = [name.strip() for name in names]
    return make_recording(
        grid=grid, concepts=len(names), steps=steps, layers=layers, default_layers=layers[-1:], names=names
    )


def _tiles(figure: torch.Tensor, width: int, height: int) -> list[list[torch.Tensor]]:
    """Tiles of this size, found by the white lines between them, in a figure laid out as documented."""
    white = (figure == 1).all(dim=-1)
    tiles = []
    for top in range(88, figure.shape[0] - height + 1, height + 6):
        row = []
        for left in range(76, figure.shape[1] - 64 - width + 1, width + 6):
            if not white[top : top + height, left : left + width].any():
                row.append(figure[top : top + height, left : left + width])
        tiles.append(row)
    return tiles


@pytest.mark.parametrize("image", [0, 1])
def test_every_tile_shows_the_share_of_its_layer_and_step(image: int) -> None:
    recording = _recording(3, (2, 5))
    figure = layer_step_figure(recording, "$5 bill_$", image)
    assert figure.dtype == torch.float32 and figure.min() >= 0 and figure.max() == 1
    tiles = _tiles(figure, 220, 147)
    assert [len(row) for row in tiles] == [3, 3]
    for layer in range(2):
        for step in range(3):
            share = recording.scores[step, layer, image].softmax(dim=0)[1].reshape(2, 3)
            expected = colorize(share)
            for y in range(2):
                for x in range(3):
                    pixel = tiles[layer][step][36 + 73 * y, 36 + 73 * x]
                    assert (pixel - expected[y, x]).abs().max() < 2.5 / 255


def test_more_than_eight_are_thinned_out_with_both_ends_kept() -> None:
    recording = _recording(28, tuple(range(19)), (1, 1, 1), ["a", "b"])
    tiles = _tiles(layer_step_figure(recording, "a"), 125, 125)
    assert [len(row) for row in tiles] == [8] * 8
    for layer, row in ((0, tiles[0]), (18, tiles[-1])):
        for step, tile in ((0, row[0]), (27, row[-1])):
            expected = colorize(recording.scores[step, layer, 0].softmax(dim=0)[:1])[0, 0]
            assert (tile[60, 60] - expected).abs().max() < 2.5 / 255


@pytest.mark.parametrize("name", [name.strip() for name in NAMES])
def test_any_name_is_a_title_without_warnings(name: str, recwarn) -> None:
    assert layer_step_figure(_recording(1, (0,)), name).shape[1] >= 420
    assert not recwarn.list


@pytest.mark.parametrize("grid", [(1, 16, 1), (1, 1, 16), (1, 1, 60), (1, 60, 1)])
def test_extreme_shapes_are_drawn(grid: tuple[int, int, int]) -> None:
    assert layer_step_figure(_recording(2, (0, 1), grid), "tree").ndim == 3


def test_a_frame_of_a_video_is_chosen() -> None:
    video = _recording(1, (0,), (2, 2, 2))
    first, second = (layer_step_figure(video, "tree", frame=frame) for frame in range(2))
    assert not torch.equal(first, second)
    share = video.scores[0, 0, 0].softmax(dim=0)[0].reshape(2, 2, 2)[1, 0, 0]
    assert (second[88 + 50, 76 + 50] - colorize(share.reshape(1, 1))[0, 0]).abs().max() < 2.5 / 255


@pytest.mark.parametrize(
    ("concept", "options", "message"),
    [
        ("moon", {}, "moon.*tree"),
        ("tree", {"index": 2}, "Image 2"),
        ("tree", {"colormap": "none such"}, "none such"),
        ("tree", {"temperature": 0}, "0"),
    ],
)
def test_what_cannot_be_drawn_is_refused(concept: str, options: dict, message: str) -> None:
    with pytest.raises(UserError, match=message):
        layer_step_figure(_recording(1, (0,)), concept, **options)


def test_a_users_style_does_not_change_the_figure_and_nothing_is_left_behind() -> None:
    recording = _recording(2, (0, 1))
    plain = layer_step_figure(recording, "tree")
    odd = {"axes.facecolor": "red", "text.color": "white", "figure.facecolor": "black", "font.size": 30.0}
    with matplotlib.rc_context({**odd, "image.origin": "lower", "image.cmap": "gray", "savefig.dpi": 300}):
        before = dict(matplotlib.rcParams)
        styled = layer_step_figure(recording, "tree")
        assert dict(matplotlib.rcParams) == before
    assert torch.equal(plain, styled)


def test_matplotlib_is_imported_by_drawing_only() -> None:
    program = """
import sys
import torch
from concept_attention import images
from concept_attention.concepts import Concept
from concept_attention.drawing import colormaps, figures, legend, lettering, overlay
from concept_attention.heatmaps.heatmaps import Heatmaps
assert "matplotlib" not in sys.modules, "importing"
maps = Heatmaps(torch.rand(1, 2, 2, 2), (Concept("a", "a"), Concept("b", "b")), "share", (32, 32))
overlay.overlay_segmentation(torch.zeros(32, 32, 3), maps, legend=False)
images.to_pil(colormaps.concept_colors(12)[None])
assert "matplotlib" not in sys.modules, "painting without text or colour map"
overlay.overlay_each(torch.zeros(32, 32, 3), maps, legend=False)
assert "matplotlib" in sys.modules, "drawing"
assert "matplotlib.pyplot" not in sys.modules, "pyplot"
"""
    result = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr


def test_figures_are_drawn_without_pyplot() -> None:
    program = """
import sys
import torch
from concept_attention.drawing.figures import layer_step_figure
from concept_attention.recording.example import example_recording
layer_step_figure(example_recording(), "house")
assert "matplotlib" in sys.modules and "matplotlib.pyplot" not in sys.modules
"""
    result = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
